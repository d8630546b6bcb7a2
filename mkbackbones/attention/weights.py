"""What an attention layer attends to, whoever wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = [
    'SOFTMAX',
    'AttentionLogits',
    'AttentionWeights',
    'Product',
    'divergence',
    'is_last',
    'logits_of',
    'product_of',
    'worked_out',
]

SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


@dataclass
class Product:
    """Logits of attention that are not worked out yet.

    Args:
        query (Tensor): Queries (..., N, d).
        key (Tensor): Keys (..., M, d).
        attn_mask (Tensor | None): Boolean or additive, broadcast to (..., N, M).
        is_causal (bool): Whether a query sees no later key.
        scale (float | None): Of the products; ``d ** -0.5`` by default.
    """

    query: Tensor
    key: Tensor
    attn_mask: Tensor | None
    is_causal: bool
    scale: float | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the logits."""
        return *self.query.shape[:-1], self.key.shape[-2]

    @property
    def requires_grad(self) -> bool:
        """Whether gradients reach queries or keys."""
        return self.query.requires_grad or self.key.requires_grad


class AttentionLogits(TorchFunctionMode):
    """Keeps what all layers that run under it take the softmax of, for :func:`worked_out`.

    It listens to ``scaled_dot_product_attention``, and to softmax over the last of four dimensions,
    which is how layers do it that know nothing of the former.

    Attributes:
        found (list): One of each layer, in the order in which they ran.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.keep(product_of(*args, **kwargs))
        elif func in SOFTMAX and args and args[0].dim() == 4 and is_last(*args, **kwargs):
            self.keep(args[0])
        return func(*args, **kwargs)

    def keep(self, logits: Tensor | Product) -> None:
        """Keep what an attention takes the softmax of."""
        self.found.append(logits)


class AttentionWeights(AttentionLogits):
    """Keeps the attention of all layers that run under it, as probabilities (B, h, N, M), float32.

    Attributes:
        found (list[Tensor]): One of each layer, in the order in which they ran.
    """

    @torch.no_grad()
    def keep(self, logits: Tensor | Product) -> None:
        self.found.append(worked_out(logits).softmax(-1))


def is_last(x: Tensor, dim: int | None = None, *args: Any, **kwargs: Any) -> bool:
    """Whether a softmax is over the last dimension."""
    return dim in (-1, x.dim() - 1)


def product_of(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **kwargs: Any,
) -> Product:
    """What ``scaled_dot_product_attention``, called like this, takes the softmax of."""
    return Product(query, key, attn_mask, is_causal, scale)


def worked_out(logits: Tensor | Product) -> Tensor:
    """Logits (..., N, M), float32 at least; gradients reach what they are made of."""
    if isinstance(logits, Tensor):
        return wide(logits)
    return logits_of(logits.query, logits.key, logits.attn_mask, logits.is_causal, logits.scale)


def logits_of(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """What ``scaled_dot_product_attention`` takes the softmax of, float32 at least."""
    query, key = wide(query), wide(key)
    logits = query @ key.transpose(-2, -1) * (scale or query.shape[-1] ** -0.5)
    if is_causal:
        later = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
        logits = logits.masked_fill(later, -torch.inf)
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            logits = logits.masked_fill(~attn_mask, -torch.inf)
        else:
            logits = logits + wide(attn_mask)
    return logits


def wide(x: Tensor) -> Tensor:
    """In float32, or float64 as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


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
