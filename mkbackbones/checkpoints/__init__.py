"""Checkpoints of other libraries: read into our layout with a report, and written back."""

from .families import Family, Weights, register_family
from .load import load_checkpoint
from .read import read_weights
from .report import CheckpointError, Entry, Report
from .source import load_file, read_source, unwrap
from .write import save_checkpoint, to_naming

__all__ = [
    'CheckpointError',
    'Entry',
    'Family',
    'Report',
    'Weights',
    'load_checkpoint',
    'load_file',
    'read_source',
    'read_weights',
    'register_family',
    'save_checkpoint',
    'to_naming',
    'unwrap',
]
