"""What an attention layer attends to, whoever wrote it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ['SOFTMAX', 'AttentionWeights', 'divergence', 'is_last', 'logits_of']

SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


class AttentionWeights(TorchFunctionMode):
    """Keeps the attention of all layers that run under it, as probabilities (B, h, N, M), float32.

    It listens to ``scaled_dot_product_attention``, and to softmax over the last of four dimensions,
    which is how layers do it that know nothing of the former.

    Attributes:
        found (list[Tensor]): One of each layer, in the order in which they ran.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.found.append(attention_of(*args, **kwargs))
        out = func(*args, **kwargs)
        if func in SOFTMAX and out.dim() == 4 and is_last(*args, **kwargs):
            self.found.append(out.detach().float())
        return out


def is_last(x: Tensor, dim: int | None = None, *args: Any, **kwargs: Any) -> bool:
    """Whether a softmax is over the last dimension."""
    return dim in (-1, x.dim() - 1)


def attention_of(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **kwargs: Any,
) -> Tensor:
    """The probabilities by which ``scaled_dot_product_attention`` weighs the values."""
    return logits_of(query, key, attn_mask, is_causal, scale).softmax(-1)


def logits_of(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """What ``scaled_dot_product_attention`` takes the softmax of, float32."""
    query, key = query.detach().float(), key.detach().float()
    logits = query @ key.transpose(-2, -1) * (scale or query.shape[-1] ** -0.5)
    if is_causal:
        later = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
        logits = logits.masked_fill(later, -torch.inf)
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            logits = logits.masked_fill(~attn_mask, -torch.inf)
        else:
            logits = logits + attn_mask.detach().float()
    return logits


def divergence(before: Tensor, after: Tensor) -> float:
    """Mean Kullback-Leibler divergence of attention after a change from that before, in nats.

    Args:
        before (Tensor): Probabilities (..., N, M).
        after (Tensor): The same.
    """
    smallest = torch.finfo(torch.float32).tiny
    ratio = before.clamp(min=smallest).log() - after.clamp(min=smallest).log()
    found = float((before * ratio).sum(-1).double().mean())
    return max(found, 0.0)  # no divergence is below, but rounding is
