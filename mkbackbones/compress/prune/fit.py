"""What a key loses without some of its charts, when the others are refitted.

The measure is leave-one-out least squares. With c_h what chart h adds to the key, of the tokens
that a layer sees, as :mod:`mkbackbones.compress.linear_fit` weighs them (what differs within a
window, where softmax sees no more), and X the tokens::

    lost(kept) = min over the refit's parameters of || sum_h c_h - refit(kept charts, X) ||^2

First-order measures (a chart's size, or gradient times value) give two equal charts each half of
what they do together, and take charts that the base chart could stand for as if it could not. What
a refit may change is what a key has anyway: the base chart, the output scale, and the weights with
which charts are combined.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ...attention.qkv import ManifoldQKV
from ...keys import LinearK, ManifoldKey
from ..tokens import Tokens

__all__ = ['RIDGE', 'ChartFit', 'Linears', 'centred', 'shrunk']

#: Added to squares of the regressors, as a share of their mean.
RIDGE = 1e-6


class ChartFit(ABC):
    """One layer's charts on some tokens.

    Args:
        qkv (ManifoldQKV): The layer.
        seen (Sequence[Tokens]): What it sees.
        within (bool): Look at what differs within a sequence of tokens alone.

    Attributes:
        tokens (int): Tokens seen.
        total (float): Squares of all charts together.
    """

    total: float

    def __init__(self, qkv: ManifoldQKV, seen: Sequence[Tokens], within: bool) -> None:
        self.qkv = qkv
        self.source: Any = qkv.key  # a ManifoldKey
        self.within = within
        self.tokens = sum(map(len, seen))

    @staticmethod
    @abstractmethod
    def parameters_of(key: ManifoldKey) -> int:
        """Parameters of each channel's fit: fewer tokens can be fitted by anything."""

    @abstractmethod
    def lost(self, kept: Sequence[int]) -> float:
        """Squares that are lost with these charts alone, refitted."""

    @abstractmethod
    def key(self, kept: Sequence[int]) -> nn.Module:
        """The key with these charts alone, refitted; a linear one without any."""

    @cached_property
    def order(self) -> list[tuple[int, float]]:
        """Charts in the order in which they go, each the one that costs least then, and what is
        lost after it. One stays where there is no base chart."""
        kept = list(range(self.source.num_charts))
        found = []
        while len(kept) > (self.source.base is None):
            costs = {chart: self.lost([h for h in kept if h != chart]) for chart in kept}
            chart = min(kept, key=costs.__getitem__)
            kept.remove(chart)
            found.append((chart, self.lost_at_last(kept)))
        return found

    def lost_at_last(self, kept: Sequence[int]) -> float:
        """Squares that are lost with charts that have been chosen."""
        return self.lost(kept)

    def kept_of(self, count: int) -> list[int]:
        """The last charts to go."""
        gone = {chart for chart, _ in self.order[: self.source.num_charts - count]}
        return [h for h in range(self.source.num_charts) if h not in gone]

    def share(self, lost: float) -> float:
        """Share of the charts' variance that is kept, adjusted for the parameters of the fit."""
        free = self.tokens - self.parameters_of(self.source)
        lost = lost * (self.tokens - 1) / max(free, 1)
        return 1.0 if self.total <= 0 else min(max(1 - lost / self.total, 0.0), 1.0)


class Linears:
    """Least squares on the tokens themselves, for what the base chart takes over.

    Args:
        key (ManifoldKey): The key; without a base chart nothing is taken over.
        within (bool): As in :class:`ChartFit`.
    """

    def __init__(self, key: Any, within: bool) -> None:
        self.there = key.base is not None
        self.bias = self.there and key.base.bias is not None
        self.within = within
        self.moments: Any = 0.0
        self.seen = 0
        self.sums: Any = 0.0

    def regressors(self, x: Tensor) -> Tensor:
        """Tokens (windows, N, C) and a constant, as they are weighed: (tokens, C + 1), float64."""
        x = torch.cat([x, torch.full_like(x[..., :1], float(self.bias))], -1)
        self.sums = self.sums + x.flatten(0, -2).double().sum(0)
        self.seen += x.shape[:-1].numel()
        flat = centred(x, self.within).flatten(0, -2)
        self.moments = self.moments + flat.double().T @ flat.double()
        return flat

    @cached_property
    def factor(self) -> Tensor:
        """F (C + 1, C + 1) with F F^T = the inverse of the moments, where they are not zero."""
        moments = self.moments.clone()
        level = moments.diagonal()[:-1].mean() * RIDGE
        moments.diagonal()[:-1].add_(level)
        values, vectors = torch.linalg.eigh(moments)
        sound = values > values[-1].clamp(min=1e-300) * 1e-14
        return vectors * torch.where(sound, values.clamp(min=1e-300).rsqrt(), 0.0)

    def mean(self) -> Tensor:
        """Mean of the tokens, and the constant: (C + 1,)."""
        return self.sums / max(self.seen, 1)


def centred(values: Tensor, within: bool) -> Tensor:
    """Values (windows, N, ...) as they are weighed."""
    return values - values.mean(1, keepdim=True) if within else values


@torch.no_grad()
def shrunk(key: Any, kept: Sequence[int]) -> Any:
    """A copy of a key with charts of which some are left, which are as they were."""
    small = copy.deepcopy(key)
    index = torch.tensor(list(kept), dtype=torch.long, device=key.weight.device)
    small.num_charts = len(kept)
    for name in ('gamma', 'weight', 'bias', 'chart_scale'):
        own = getattr(key, name, None)
        if own is not None:
            setattr(small, name, like(own, own.detach()[index]))
    spatial = getattr(key, 'spatial_weight', None)
    if spatial is not None:
        values = spatial.detach().unflatten(0, (key.num_charts, -1))[index].flatten(0, 1)
        small.spatial_weight = like(spatial, values)
    return small


def like(own: nn.Parameter, values: Tensor) -> nn.Parameter:
    """A parameter in the place of another one."""
    return nn.Parameter(values.to(own).clone(), requires_grad=own.requires_grad)


@torch.no_grad()
def linear_key(key: Any, added: Tensor, bias: Tensor) -> LinearK:
    """A key without charts: the base chart and a matrix (C, out_dims) and bias (out_dims,)."""
    weight = key.base.weight + added.T.to(key.base.weight)
    own = key.base.bias
    linear = LinearK(key.embed_dims, out_dims=key.out_dims, bias=own is not None).to(weight)
    linear.load_stock(weight, None if own is None else own + bias.to(own))
    return linear.train(key.training)


@torch.no_grad()
def add_to_base(key: Any, added: Tensor, bias: Tensor) -> None:
    """Let the base chart take over a matrix (C, out_dims) and bias (out_dims,)."""
    key.base.weight.add_(added.T.to(key.base.weight))
    if key.base.bias is not None:
        key.base.bias.add_(bias.to(key.base.bias))
