"""Converters for data sets of your own, one a notation."""
