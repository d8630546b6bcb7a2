"""Swap the backbone of an existing config: :func:`swap_backbone`."""

from .features import Features, SwapError, backbone_features
from .swap import Swap, swap_backbone

__all__ = ['Features', 'Swap', 'SwapError', 'backbone_features', 'swap_backbone']
