"""Backbones with the OpenMMLab interface: NCHW tuples, ``init_cfg``, ``frozen_stages``."""

from .swin import ManifoldSwin
from .swin_v2 import ManifoldSwinV2
from .vit import ManifoldViT
from .wrapper import manifold_key_backbone

__all__ = ['ManifoldSwin', 'ManifoldSwinV2', 'ManifoldViT', 'manifold_key_backbone']
