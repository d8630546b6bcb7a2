"""Residual branches with stochastic depth."""

import torch
from timm.layers import DropPath
from torch import Tensor, nn


def drop_scale(drop_path: nn.Module, x: Tensor) -> Tensor | None:
    """What each image's branch is multiplied by (B,), float32; None where nothing is dropped.

    Draws what timm's ``DropPath`` draws.
    """
    if not isinstance(drop_path, DropPath) or not drop_path.training or not drop_path.drop_prob:
        return None
    keep = 1 - drop_path.drop_prob
    scale = x.new_empty(x.shape[0], dtype=torch.float32).bernoulli_(keep)
    return scale / keep if keep > 0 and drop_path.scale_by_keep else scale


def scaled_sum(x: Tensor, branch: Tensor, scale: Tensor | None) -> Tensor:
    """``x + scale * branch`` in one pass, in the type of the residual stream."""
    if scale is None:
        return x + branch
    return torch.addcmul(x, branch, scale.to(branch.dtype).view(-1, *[1] * (x.dim() - 1)))
