"""Norms outside of blocks."""

import torch
from torch import Tensor, nn

from ..kernels import fused_dtype, is_plain


def normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """``norm(x)`` for tokens (..., C), in one pass over memory where the kernels serve."""
    if fused_dtype(x) is None or not is_plain(norm, nn.LayerNorm):
        return norm(x)
    from ..kernels.norm import layer_norm

    # As autocast has it: norms give float32.
    return layer_norm(x, norm, torch.float32 if torch.is_autocast_enabled('cuda') else x.dtype)
