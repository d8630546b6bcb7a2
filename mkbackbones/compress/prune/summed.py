"""Charts that are added up: SimpleK and SpatialK."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ...attention.qkv import ManifoldQKV
from ...keys import ManifoldKey
from ..tokens import Tokens
from .fit import ChartFit, Linears, add_to_base, centred, linear_key, shrunk

__all__ = ['SummedFit']

#: Turns in which the charts' weights and the output scale are fitted, each with the other fixed.
TURNS = 4
#: Weights that differ by less are one.
EQUAL = 1e-6


class SummedFit(ChartFit):
    """Refits the weight of each chart, the output scale of each channel, and the base chart.

    The base chart's part is taken out first (Frisch and Waugh): what is left of the charts are
    H x H squares a channel, in which any choice of charts is fitted without looking at tokens
    again.
    Arguments as in :class:`ChartFit`.
    """

    @torch.no_grad()
    def __init__(self, qkv: ManifoldQKV, seen: Sequence[Tokens], within: bool) -> None:
        super().__init__(qkv, seen, within)
        key = self.source
        linears = Linears(key, within)
        scale = 1.0 if key.out_scale is None else key.out_scale.detach().float()
        weights = key.chart_scale
        self.weights = (
            torch.full_like(key.gamma[:, 0], 1 / key.num_charts) if weights is None else weights
        ).detach()
        factors = self.weights.float()[:, None] * scale
        squares: Any = 0.0
        products: Any = 0.0
        means: Any = 0.0
        for some in seen:
            with torch.autocast(some.x.device.type, enabled=False):
                charts = factors * key.each_chart(some.x, some.grid, some.num_prefix_tokens)
            means = means + charts.flatten(0, 1).double().sum(0)
            charts = centred(charts, within).flatten(0, 1)
            by_channel = charts.permute(2, 1, 0).double()  # d, H, tokens
            squares = squares + by_channel @ by_channel.mT
            if linears.there:
                x = linears.regressors(some.x)
                products = products + (x.double().T @ charts.flatten(1).double())
        self.linears = linears
        self.means = means / max(self.tokens, 1)  # H, d
        whole = squares
        if linears.there:
            inner = linears.factor.T @ products
            self.linear = (linears.factor @ inner).unflatten(1, (key.num_charts, -1))
            inner = inner.unflatten(1, (key.num_charts, -1)).permute(2, 1, 0)
            squares = squares - inner @ inner.mT
        self.squares = squares  # d, H, H
        self.total = float(whole.sum())
        self.solved = lru_cache(maxsize=None)(self.solve)

    @staticmethod
    def parameters_of(key: ManifoldKey) -> int:
        return key.num_charts + (0 if key.base is None else key.embed_dims + 1)

    def solve(self, kept: tuple[int, ...]) -> tuple[float, Tensor, Tensor]:
        """Squares lost, factors of the charts' weights (H,) and of the output scale (d,)."""
        squares = self.squares
        number = squares.shape[1]
        ones = squares.new_ones(number)
        factors, scale = torch.zeros_like(ones), squares.new_ones(len(squares))
        index = torch.tensor(kept, dtype=torch.long, device=squares.device)
        for _ in range(TURNS if kept else 0):
            wanted = torch.einsum('j,jhg->h', scale, squares)[index]
            own = torch.einsum('j,jhg->hg', scale.square(), squares)[index][:, index]
            # Near one where it makes no difference, e.g. of two equal charts.
            damped = own + own.diagonal().mean().clamp(min=1e-300) * 1e-9 * torch.eye(len(kept)).to(
                own
            )
            factors[index] = 1 + torch.linalg.solve(damped, wanted - own.sum(1))
            if not self.linears.there:
                break
            along = torch.einsum('h,jhg->j', factors, squares)
            size = torch.einsum('h,jhg,g->j', factors, squares, factors)
            little = size.mean().clamp(min=1e-300) * 1e-6
            scale = (along + little) / (size + little)
        left = scale[:, None] * factors - 1
        return float(torch.einsum('jh,jhg,jg->', left, squares, left).clamp(min=0)), factors, scale

    def lost(self, kept: Sequence[int]) -> float:
        return self.solved(tuple(kept))[0]

    @torch.no_grad()
    def key(self, kept: Sequence[int]) -> nn.Module:
        own = self.source
        _, factors, scale = self.solved(tuple(kept))
        added = bias = own.gamma.new_zeros(())
        if self.linears.there:
            change = 1 - factors[:, None] * scale  # H, d
            linear = torch.einsum('phj,hj->pj', self.linear, change)
            added, bias = linear[:-1], linear[-1]
            if self.within:  # for numbers of the same size; softmax sees none of it
                bias = (change * self.means).sum(0) - self.linears.mean()[:-1] @ added
        if not kept:
            return linear_key(own, added, bias)
        small = shrunk(own, kept)
        weights = (factors * self.weights.double())[list(kept)]
        mean = weights.mean()
        if self.linears.there:
            add_to_base(small, added, bias)
            # Their mean goes into the output scale, so that equal weights need no parameter.
            level = mean * len(kept)
            if level.abs() < weights.abs().max() * 1e-3:
                level = weights.abs().max() * len(kept)
            weights = weights / level
            small.out_scale.mul_((scale * level).to(small.out_scale))
        equal = bool((weights * len(kept) - 1).abs().max() < EQUAL)
        small.register_parameter('chart_scale', None)
        if not equal:
            small.chart_scale = nn.Parameter(weights.to(own.gamma))
            small.chart_scale.requires_grad_(own.gamma.requires_grad)
        return small
