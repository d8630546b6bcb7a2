"""Triton kernels behind the backbones and keys, used where they serve: see ``fused_dtype``.

Plain PyTorch stays the reference and the fallback. The modules that define kernels import Triton,
so import them only behind :func:`fused_dtype`; this package itself imports without it.
"""

from .support import fused_dtype

__all__ = ['fused_dtype']
