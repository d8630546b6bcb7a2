"""Backbones with the OpenMMLab interface: NCHW tuples, ``init_cfg``, ``frozen_stages``."""

from .swin import ManifoldSwin
from .vit import ManifoldViT

__all__ = ['ManifoldSwin', 'ManifoldViT']
