"""nn.MultiheadAttention for self-attention, with the fused projection as a layer of its own."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..compat.modes import is_compiling
from ..compat.modules import add_load_hook
from .qkv import head_views, linear_of


class FusedSelfAttention(nn.Module):
    """A stand-in for ``nn.MultiheadAttention`` whose projection is a module called ``qkv``.

    It takes the weights, the call and the results over; what it cannot do is cross-attention.
    A state dict with ``in_proj_weight`` and ``in_proj_bias`` loads as it is.

    Args:
        stock (nn.MultiheadAttention): The layer to take over; its ``out_proj`` is shared.
    """

    def __init__(self, stock: nn.MultiheadAttention) -> None:
        super().__init__()
        self.embed_dim = stock.embed_dim
        self.num_heads = stock.num_heads
        self.head_dim = stock.head_dim
        self.dropout = stock.dropout
        self.batch_first = stock.batch_first
        self.qkv: nn.Module = linear_of(stock.in_proj_weight, stock.in_proj_bias)
        self.qkv.requires_grad_(stock.in_proj_weight.requires_grad)
        self.out_proj = stock.out_proj
        self.train(stock.training)
        add_load_hook(self, rename_stock_weights)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend; arguments and results as in ``nn.MultiheadAttention``.

        Raises:
            ValueError: If ``query``, ``key`` and ``value`` are not the same tokens.
        """
        if not (same_tokens(query, key) and same_tokens(query, value)):
            raise ValueError(
                'an nn.MultiheadAttention with a manifold key got different tokens as query, key '
                'and value; only self-attention can have one: apply the key to the backbone alone'
            )
        batched = query.dim() == 3
        x = query if batched else query.unsqueeze(0 if self.batch_first else 1)
        x = x if self.batch_first else x.transpose(0, 1)  # B, N, C
        q, k, v = head_views(self.qkv(x), self.num_heads)  # B, h, N, C/h
        mask = merge_masks(attn_mask, key_padding_mask, q)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = (q / math.sqrt(self.head_dim)) @ k.transpose(-2, -1)
            weights = (scores if mask is None else scores + mask).softmax(-1)
            weights = F.dropout(weights, dropout) if dropout else weights
            y = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        y = self.out_proj(y.transpose(1, 2).flatten(2))
        y = y if self.batch_first else y.transpose(0, 1)
        return (y if batched else y.squeeze(0 if self.batch_first else 1)), weights

    def to_multihead(self, qkv: nn.Linear) -> nn.MultiheadAttention:
        """The stock layer with the given fused projection, sharing ``out_proj``."""
        with torch.device('meta'):  # allocates nothing and draws no random numbers
            stock = nn.MultiheadAttention(
                self.embed_dim, self.num_heads, self.dropout, batch_first=self.batch_first
            )
        stock.in_proj_weight = qkv.weight  # type: ignore[assignment]  # a Parameter
        stock.in_proj_bias = qkv.bias
        stock.out_proj = self.out_proj
        return stock.train(self.training)


def same_tokens(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same memory, seen in the same way."""
    if a is b:
        return True
    if a.shape != b.shape or a.stride() != b.stride():
        return False
    # mmcv's wrapper transposes query, key and value each on its own: one memory, three tensors.
    return is_compiling() or a.data_ptr() == b.data_ptr()


def merge_masks(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, q: Tensor
) -> Tensor | None:
    """One additive mask that broadcasts to (B, h, N, N), or None.

    Args:
        attn_mask (Tensor, optional): (N, N) or (B h, N, N), True where attention is not allowed,
            or added to the scores.
        key_padding_mask (Tensor, optional): (B, N), True for tokens to ignore, or added.
        q (Tensor): Queries (B, h, N, C/h), for shape and type.
    """
    masks = []
    if attn_mask is not None:
        mask = additive(attn_mask, q.dtype)
        masks.append(mask if mask.dim() == 2 else mask.view(*q.shape[:2], *mask.shape[1:]))
    if key_padding_mask is not None:
        mask = additive(key_padding_mask, q.dtype)
        masks.append(mask.view(-1, 1, 1, mask.shape[-1]))
    return sum(masks[1:], masks[0]) if masks else None


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A boolean mask as minus infinity where it is True; others in the given type."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)


def rename_stock_weights(
    module: FusedSelfAttention, state_dict: dict[str, Any], prefix: str, *unused: object
) -> None:
    """Pre-hook of ``load_state_dict``: hand ``in_proj_*`` on to the ``qkv`` layer."""
    for kind in ('weight', 'bias'):
        value = state_dict.pop(f'{prefix}in_proj_{kind}', None)
        if value is not None:
            state_dict[f'{prefix}qkv.{kind}'] = value
