"""Pictures that share content, so that no split puts them on two sides."""

from mkbackbones.leakage.check import Shared, find_shared
from mkbackbones.leakage.groups import group_keys
from mkbackbones.leakage.pictures import Picture, find_pictures

__all__ = ['Picture', 'Shared', 'find_pictures', 'find_shared', 'group_keys']
