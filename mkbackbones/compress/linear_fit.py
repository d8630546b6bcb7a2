"""The best linear map in the place of a layer's charts, from the tokens that it sees."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..attention.qkv import ManifoldQKV
from ..keys import LinearK

__all__ = ['LinearFit']

#: A map has this many tokens for each of its channels, or is not known well enough: it fits fewer
#: tokens than channels exactly, and explains nothing then.
TOKENS_A_CHANNEL = 10


class LinearFit:
    """Sums over the tokens that a layer sees: a forward pre-hook of the layer.

    Args:
        qkv (ManifoldQKV): The layer, whose key has charts.
        within (bool): Look at what differs within a sequence of tokens alone. What a key has in
            common for all tokens of a window adds the same to all logits of a query, which softmax
            does not see.
        ridge (float): Added to the squares of the tokens, as a share of their mean.
        bias (bool): Whether the map may have one.
    """

    def __init__(
        self, qkv: ManifoldQKV, within: bool = False, ridge: float = 0.0, bias: bool = True
    ) -> None:
        key = qkv.key
        size = key.embed_dims + 1
        device = qkv.qv.weight.device
        self.within = within
        self.ridge = ridge
        self.bias = bias
        self.moments = torch.zeros(size, size, dtype=torch.float64, device=device)
        self.products = torch.zeros(size, key.out_dims, dtype=torch.float64, device=device)
        self.tokens: Any = 0.0  # sum of the tokens, then (C + 1,)
        self.charts: Any = 0.0  # and of the charts, (out_dims,)
        self.charts_squared = self.base = self.key_squared = 0.0
        self.key: Any = 0.0
        self.seen = 0

    @torch.no_grad()
    def __call__(self, qkv: ManifoldQKV, inputs: tuple[Tensor, ...]) -> None:
        key: Any = qkv.key  # a BasedKey
        x = inputs[0].detach().float()
        with torch.autocast(x.device.type, enabled=False):
            charts = key.charts(x, qkv.grid, qkv.num_prefix_tokens)
            whole = charts
            if key.base is not None:
                charts = key.out_scale * charts
                base = key.base(x)
                self.base += float(base.square().sum())
                whole = base + charts
        constant = torch.full_like(x[..., :1], float(self.bias))
        tokens = torch.cat([x, constant], -1).double()
        self.tokens += tokens.flatten(0, -2).sum(0)
        self.charts += charts.flatten(0, -2).double().sum(0)
        if self.within:
            tokens, charts, whole = (
                each - each.mean(-2, keepdim=True) for each in (tokens, charts, whole)
            )
        tokens, wanted, whole = (each.flatten(0, -2).double() for each in (tokens, charts, whole))
        self.moments += tokens.T @ tokens
        self.products += tokens.T @ wanted
        self.charts_squared += float(wanted.square().sum())
        self.key += whole.sum(0)
        self.key_squared += float(whole.square().sum())
        self.seen += len(tokens)

    @cached_property
    def linear(self) -> Tensor:
        """The best linear map of all tokens seen, its bias in the last row: (C + 1, out_dims)."""
        moments = self.moments
        if self.ridge:
            level = moments.diagonal()[:-1].mean() * self.ridge
            moments = moments.clone()
            moments.diagonal()[:-1].add_(level)
        found = torch.linalg.pinv(moments, hermitian=True) @ self.products
        if self.within and self.bias:  # for numbers of the same size; softmax sees none of it
            found[-1] = (self.charts - self.tokens[:-1] @ found[:-1]) / max(self.seen, 1)
        return found

    @property
    def suffices(self) -> bool:
        """Whether there are enough tokens for the map to hold for others."""
        return self.seen >= TOKENS_A_CHANNEL * len(self.moments)

    def left(self) -> float | None:
        """Squares that the map leaves, for other tokens too; None with too few of them."""
        free = self.seen - len(self.moments)
        if free <= 0:
            return None
        linear = self.linear
        quadratic = float((linear * (self.moments @ linear)).sum())
        left = self.charts_squared - 2 * float((linear * self.products).sum()) + quadratic
        return max(left, 0.0) * (self.seen - 1) / free

    def linear_share(self) -> float | None:
        """Share of the charts' variance that this map explains, adjusted for its parameters."""
        mean = 0.0 if self.within else float((self.charts / max(self.seen, 1)).square().sum())
        return share(self.left(), self.charts_squared - self.seen * mean)

    def key_share(self) -> float | None:
        """The same of the whole key, base chart included."""
        mean = float((self.key / max(self.seen, 1)).square().sum())
        return share(self.left(), self.key_squared - self.seen * mean)

    def linear_key(self, key: Any) -> LinearK:
        """A key that computes this map, and the base chart where there is one."""
        found = self.linear.T.float()
        weight, bias = found[:, :-1], found[:, -1]
        if key.base is not None:
            weight = weight + key.base.weight.detach()
            bias = bias if key.base.bias is None else bias + key.base.bias.detach()
        linear = LinearK(key.embed_dims, out_dims=key.out_dims, bias=self.bias).to(found.device)
        linear.load_stock(weight, bias if self.bias else None)
        return linear.eval()


def share(left: float | None, variance: float) -> float | None:
    """Share of a variance that is explained; all of none."""
    if left is None:
        return None
    return 1.0 if variance <= 0 else min(max(1 - left / variance, 0.0), 1.0)
