"""Trained networks made cheaper: their keys replaced by what costs less."""
