"""Charts that share a membership: KUA, where taking one out gives its share to the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...attention.qkv import ManifoldQKV
from ...keys import ManifoldKey
from ..tokens import Tokens
from .fit import ChartFit, Linears, add_to_base, centred, like, linear_key, shrunk

__all__ = ['MembershipFit']

#: Steps in which the gate's biases are fitted.
STEPS = 12
#: Steps get shorter, at most so often.
HALVINGS = 4


@dataclass
class State:
    """A refit of some charts.

    Args:
        kept (list[int]): The charts.
        offsets (Tensor): Added to the gate's bias, of each kept chart.
        factor (Tensor): Of the output scale.
        added (Tensor): ``factor`` times the charts together, weighed: (tokens, d).
        lost (float): Squares that they and the base chart leave.
    """

    kept: list[int]
    offsets: Tensor
    factor: Tensor
    added: Tensor
    lost: float


class MembershipFit(ChartFit):
    """Refits the gate's biases, the output scale, and the base chart.

    Without a chart, softmax runs over the others: their memberships grow by its own, token by
    token. That is what is compared with the key as it was. Charts are chosen after one linearised
    step of the biases, and the chosen ones fitted by Gauss and Newton's steps. Arguments as in
    :class:`ChartFit`.
    """

    @torch.no_grad()
    def __init__(self, qkv: ManifoldQKV, seen: Sequence[Tokens], within: bool) -> None:
        super().__init__(qkv, seen, within)
        key = self.source
        self.linears = Linears(key, within)
        self.seen = seen
        self.scale = 1.0 if key.out_scale is None else key.out_scale.detach().float()
        z, gates, x = [], [], []
        for some in seen:
            with torch.autocast(some.x.device.type, enabled=False):
                z.append(key.each_chart(some.x, some.grid, some.num_prefix_tokens))
                gates.append(key.gate(some.x))
            if self.linears.there:
                x.append(self.linears.regressors(some.x))
        self.z, self.gates = z, gates
        self.x = torch.cat(x) if x else None
        self.projector = (
            None if self.x is None else (self.x.double() @ self.linears.factor).float()
        )  # orthonormal columns
        every = list(range(key.num_charts))
        zero = torch.zeros(len(every), device=self.z[0].device)
        self.wanted = self.weighed(self.together(every, zero))
        self.total = float(self.wanted.double().square().sum())
        self.states: dict[tuple[int, ...], State] = {}

    @staticmethod
    def parameters_of(key: ManifoldKey) -> int:
        return key.num_charts + (0 if key.base is None else key.embed_dims + 1)

    def memberships(self, kept: Sequence[int], offsets: Tensor) -> list[Tensor]:
        """Memberships (windows, N, kept) without the other charts."""
        return [(gate[..., list(kept)] + offsets).softmax(-1) for gate in self.gates]

    def together(self, kept: Sequence[int], offsets: Tensor) -> list[Tensor]:
        """What the charts add to the key, (windows, N, d) of each batch."""
        return [
            self.scale * torch.einsum('bnh,bnhd->bnd', p, z[..., list(kept), :])
            for p, z in zip(self.memberships(kept, offsets), self.z)
        ]

    def weighed(self, values: list[Tensor]) -> Tensor:
        """Values as they are weighed, of all tokens."""
        return torch.cat([centred(each, self.within).flatten(0, 1) for each in values])

    def left(self, values: Tensor) -> Tensor:
        """What the base chart cannot take over, of values (tokens, ...)."""
        if self.projector is None:
            return values
        flat = values.flatten(1)
        return (flat - self.projector @ (self.projector.T @ flat)).view_as(values)

    def directions(self, kept: list[int], offsets: Tensor) -> Tensor:
        """How the key changes with each of the gate's biases, (tokens, kept, d)."""
        found = []
        for p, z in zip(self.memberships(kept, offsets), self.z):
            z = z[..., kept, :]
            mean = torch.einsum('bnh,bnhd->bnd', p, z)
            change = self.scale * p[..., None] * (z - mean.unsqueeze(-2))
            found.append(centred(change, self.within).flatten(0, 1))
        return torch.cat(found)

    def step(self, state: State) -> tuple[Tensor, Tensor, float]:
        """A linearised step of offsets and factor, and the squares that it should leave."""
        directions = state.factor * self.directions(state.kept, state.offsets)
        if self.linears.there:
            whole = (state.added / state.factor)[:, None]
            directions = torch.cat([directions, whole], 1)
        directions = self.left(directions).transpose(0, 1).flatten(1).double()
        error = self.left(self.wanted - state.added).flatten().double()
        own = directions @ directions.T
        wanted = directions @ error
        damped = own + own.diagonal().mean().clamp(min=1e-300) * 1e-7 * torch.eye(len(own)).to(own)
        found = torch.linalg.solve(damped, wanted)
        expected = float(error.square().sum() - wanted @ found)
        offsets = found[: len(state.kept)].float()
        factor = found[len(state.kept) :].sum().float()
        return offsets, factor, max(expected, 0.0)

    def state(self, kept: Sequence[int], offsets: Tensor, factor: Tensor) -> State:
        """Some charts with these biases."""
        added = factor * self.weighed(self.together(kept, offsets))
        lost = float(self.left(self.wanted - added).double().square().sum())
        return State(list(kept), offsets, factor, added, lost)

    def start(self, kept: Sequence[int]) -> State:
        """Some charts as they are."""
        zeros = torch.zeros(len(kept), device=self.z[0].device)
        return self.state(kept, zeros, torch.ones((), device=zeros.device))

    @torch.no_grad()
    def lost(self, kept: Sequence[int]) -> float:
        if not kept:
            return float(self.left(self.wanted).double().square().sum())
        state = self.start(kept)
        return min(self.step(state)[2], state.lost)

    def lost_at_last(self, kept: Sequence[int]) -> float:
        return self.fitted(kept).lost if kept else self.lost(kept)

    @torch.no_grad()
    def fitted(self, kept: Sequence[int]) -> State:
        """Some charts, refitted: no step makes them worse."""
        done = self.states.get(tuple(kept))
        if done is not None:
            return done
        state = self.start(kept)
        for _ in range(STEPS):
            offsets, factor, _ = self.step(state)
            for halving in range(HALVINGS):
                part = 0.5**halving
                trial = self.state(
                    kept, state.offsets + part * offsets, state.factor + part * factor
                )
                if trial.lost < state.lost:
                    break
            else:
                break
            state = trial
        self.states[tuple(kept)] = state
        return state

    @torch.no_grad()
    def key(self, kept: Sequence[int]) -> nn.Module:
        own = self.source
        if not kept:
            added = torch.zeros_like(self.wanted)
            return linear_key(own, *self.taken_over(added, self.means_of([], None, None)))
        state = self.fitted(kept)
        scale = torch.ones_like(self.wanted[0])
        if self.linears.there:  # the output scale of each channel, after the factor for all
            rest, wanted = self.left(state.added), self.left(self.wanted)
            along, size = (rest * wanted).sum(0), rest.square().sum(0)
            little = size.mean().clamp(min=1e-30) * 1e-6
            scale = (along + little) / (size + little)
        small = shrunk(own, kept)
        small.gate = nn.Linear(own.embed_dims, len(kept), device='meta')
        gate = own.gate
        small.gate.weight = like(gate.weight, gate.weight.detach()[list(kept)])
        small.gate.bias = like(gate.bias, gate.bias.detach()[list(kept)] + state.offsets)
        if self.linears.there:
            means = self.means_of(kept, state.offsets, state.factor * scale)
            add_to_base(small, *self.taken_over(state.added * scale, means))
            small.out_scale.mul_((state.factor * scale).to(small.out_scale))
        return small

    def means_of(self, kept: Sequence[int], offsets: Any, factor: Any) -> Tensor:
        """Mean of what the key loses, (d,)."""
        key = self.source
        zeros = torch.zeros(key.num_charts, device=self.z[0].device)
        lost = torch.cat(
            [each.flatten(0, 1) for each in self.together(range(key.num_charts), zeros)]
        ).mean(0)
        if kept:
            still = self.together(kept, offsets)
            lost = lost - factor * torch.cat([each.flatten(0, 1) for each in still]).mean(0)
        return lost

    def taken_over(self, added: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
        """Matrix and bias that the base chart gets for what is left of the key."""
        factor, x = self.linears.factor, self.x
        assert x is not None
        found = factor @ (factor.T @ (x.double().T @ (self.wanted - added).double()))
        matrix, bias = found[:-1], found[-1]
        if self.within:
            bias = means.double() - self.linears.mean()[:-1] @ matrix
        return matrix, bias
