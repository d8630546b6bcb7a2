"""The families of backbones whose checkpoints are read and written; one file each."""

from .base import FAMILIES, Family, Weights, detect, register_family
from .dinov3 import DINOV3
from .swin import SWIN
from .swin_v2 import SWIN_V2
from .vit import VIT

__all__ = [
    'DINOV3',
    'FAMILIES',
    'SWIN',
    'SWIN_V2',
    'VIT',
    'Family',
    'Weights',
    'detect',
    'register_family',
]
