"""What is installed, whether it works together, and what mends it: for a bug report."""

from .findings import examine
from .text import render

__all__ = ['examine', 'render']
