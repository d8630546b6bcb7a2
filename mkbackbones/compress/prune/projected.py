"""Charts that a projection combines: VanillaK."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ...attention.qkv import ManifoldQKV
from ...keys import ManifoldKey
from ..tokens import Tokens
from .fit import RIDGE, ChartFit, add_to_base, centred, like, linear_key, shrunk

__all__ = ['ProjectedFit']


class ProjectedFit(ChartFit):
    """Refits the projection and the base chart.

    All channels are combined from the same values, so that what is lost without one chart follows
    from its block in the inverse of their moments (as in Optimal Brain Surgeon). Arguments as in
    :class:`ChartFit`.
    """

    @torch.no_grad()
    def __init__(self, qkv: ManifoldQKV, seen: Sequence[Tokens], within: bool) -> None:
        super().__init__(qkv, seen, within)
        key = self.source
        self.before = 0 if key.base is None else key.embed_dims  # values before the charts'
        self.width = key.chart_channels
        moments: Any = 0.0
        sums: Any = 0.0
        for some in seen:
            with torch.autocast(some.x.device.type, enabled=False):
                charts = key.each_chart(some.x, some.grid, some.num_prefix_tokens).flatten(2)
            values = torch.cat([some.x, charts], -1) if self.before else charts
            sums = sums + values.flatten(0, 1).double().sum(0)
            values = centred(values, within).flatten(0, 1)
            moments = moments + (values.T @ values).double()
        self.means = sums / max(self.tokens, 1)
        if not within:  # the projection's bias is a constant among the values
            moments = moments - self.tokens * torch.outer(self.means, self.means)
        out = torch.ones_like(key.proj.bias) if key.out_scale is None else key.out_scale
        self.out_scale = out.detach().double()
        own = key.proj.weight.detach().double().T  # H d, out
        self.own = torch.cat([own.new_zeros(self.before, own.shape[1]), own])
        scaled = self.own * self.out_scale
        self.total = float((scaled * (moments @ scaled)).sum().clamp(min=0))
        damping = torch.empty_like(self.means)
        for part in (slice(0, self.before), slice(self.before, None)):
            damping[part] = moments.diagonal()[part].mean() * RIDGE if len(damping[part]) else 0
        self.moments = moments + torch.diag(damping.clamp(min=1e-12 * max(self.tokens, 1)))

    @staticmethod
    def parameters_of(key: ManifoldKey) -> int:
        base = 0 if key.base is None else key.embed_dims
        return base + key.num_charts * key.chart_channels + 1

    def rows(self, charts: Sequence[int]) -> Tensor:
        """Where charts lie among the values."""
        each = torch.arange(self.width, device=self.means.device)
        starts = torch.tensor(list(charts), dtype=torch.long, device=self.means.device)
        return (self.before + starts[:, None] * self.width + each).flatten()

    @cached_property
    def order(self) -> list[tuple[int, float]]:
        key = self.source
        inverse = torch.linalg.inv(self.moments)
        current, lost = self.own.clone(), 0.0
        kept, found = list(range(key.num_charts)), []
        while len(kept) > (key.base is None):
            costs = {}
            for chart in kept:
                rows = self.rows([chart])
                scaled = current[rows] * self.out_scale
                costs[chart] = float(
                    (scaled * torch.linalg.solve(inverse[rows][:, rows], scaled)).sum()
                )
            chart = min(kept, key=costs.__getitem__)
            rows = self.rows([chart])
            taken = torch.linalg.solve(inverse[rows][:, rows], inverse[rows])
            current = current - taken.T @ current[rows]
            inverse = inverse - inverse[:, rows] @ taken
            gone = self.rows([h for h in range(key.num_charts) if h not in kept or h == chart])
            current[gone] = 0
            # What is gone must not come back in by rounding.
            inverse[gone], inverse[:, gone] = 0, 0
            kept.remove(chart)
            lost += max(costs[chart], 0.0)
            found.append((chart, lost))
        return found

    def refitted(self, kept: Sequence[int]) -> Tensor:
        """The projection (values, out) of the kept charts, zero for the others."""
        staying = [h for h in range(self.source.num_charts) if h in kept]
        gone = self.rows([h for h in range(self.source.num_charts) if h not in kept])
        rows = torch.cat([torch.arange(self.before).to(gone), self.rows(staying)])
        found = torch.zeros_like(self.own)
        wanted = self.moments[rows][:, gone] @ self.own[gone]
        found[rows] = self.own[rows]
        if len(rows):
            found[rows] += torch.linalg.solve(self.moments[rows][:, rows], wanted)
        return found

    def lost(self, kept: Sequence[int]) -> float:
        change = (self.refitted(kept) - self.own) * self.out_scale
        return float((change * (self.moments @ change)).sum().clamp(min=0))

    @torch.no_grad()
    def key(self, kept: Sequence[int]) -> nn.Module:
        own = self.source
        found = self.refitted(kept)
        bias = own.proj.bias.double() - self.means @ (found - self.own)
        added = found[: self.before] * self.out_scale
        if not kept:
            return linear_key(own, added, self.out_scale * bias)
        small = shrunk(own, kept)
        small.proj = nn.Linear(len(kept) * self.width, own.out_dims, device='meta')
        small.proj.weight = like(own.proj.weight, found[self.rows(kept)].T)
        small.proj.bias = like(own.proj.bias, bias)
        if self.before:
            add_to_base(small, added, bias.new_zeros(()))
        return small
