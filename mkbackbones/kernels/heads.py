"""Query, key and value of all heads, as views of one tensor."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class SplitHeads(torch.autograd.Function):
    """Views in the forward pass, one copy in the backward pass, where autograd makes two."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = qkv.unflatten(-1, (3, num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor, None]:
        return torch.cat([grad.transpose(1, 2).flatten(2) for grad in (dq, dk, dv)], dim=-1), None


def split_heads(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """[q, k, v] (B, N, 3 C) as three views (B, h, N, C / h), for a backward pass of one copy."""
    return SplitHeads.apply(qkv, num_heads)
