"""Backbones with the OpenMMLab interface: NCHW tuples, ``init_cfg``, ``frozen_stages``."""

from .dinov3 import ManifoldDINOv3
from .swin import ManifoldSwin
from .swin_v2 import ManifoldSwinV2
from .vit import ManifoldViT
from .wrapper import manifold_key_backbone

__all__ = [
    'ManifoldDINOv3',
    'ManifoldSwin',
    'ManifoldSwinV2',
    'ManifoldViT',
    'manifold_key_backbone',
]
