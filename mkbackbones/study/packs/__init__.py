"""Finished runs carried from one machine to another: a pack is written, read and merged."""
