"""The families of backbones whose checkpoints are read and written; one file each."""

from .base import FAMILIES, Family, Weights, detect, register_family
from .swin import SWIN
from .vit import VIT

__all__ = ['FAMILIES', 'SWIN', 'VIT', 'Family', 'Weights', 'detect', 'register_family']
