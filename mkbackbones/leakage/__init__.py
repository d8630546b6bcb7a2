"""Pictures that share content, so that no split puts them on two sides."""

from .check import Shared, find_shared
from .groups import group_keys
from .pictures import Picture, find_pictures

__all__ = ['Picture', 'Shared', 'find_pictures', 'find_shared', 'group_keys']
