"""Attention keys: the paper's variants and the controls, by name in the ``KEYS`` registry."""

from .base import BasedKey, Key, ManifoldKey
from .build import build_key, keys_per_block
from .controls import MLPK, LinearK
from .kua import KUA
from .simple import SimpleK
from .spatial import SpatialK
from .vanilla import VanillaK

__all__ = [
    'KUA',
    'MLPK',
    'BasedKey',
    'Key',
    'LinearK',
    'ManifoldKey',
    'SimpleK',
    'SpatialK',
    'VanillaK',
    'build_key',
    'keys_per_block',
]
