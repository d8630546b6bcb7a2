"""Blocks of timm that older releases lack."""

from inspect import signature

import timm
from timm.models.eva import EvaBlock

__all__ = ['why_no_dinov3']

#: Arguments of timm's block without which it is not DINOv3's.
DINOV3_ARGUMENTS = ('rotate_half', 'swiglu_align_to')


def why_no_dinov3() -> str:
    """Why this timm has no blocks for DINOv3, in a sentence; empty where it has them."""
    known = signature(EvaBlock.__init__).parameters
    if all(name in known for name in DINOV3_ARGUMENTS):
        return ''
    return (
        f'ManifoldDINOv3 needs timm 1.0.20 or later, this is timm {timm.__version__}: '
        "pip install 'timm>=1.0.20' (the other backbones do without)"
    )
