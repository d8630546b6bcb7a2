"""Backbones with the OpenMMLab interface: NCHW tuples, ``init_cfg``, ``frozen_stages``."""

from .swin import ManifoldSwin
from .vit import ManifoldViT
from .wrapper import manifold_key_backbone

__all__ = ['ManifoldSwin', 'ManifoldViT', 'manifold_key_backbone']
