"""As few charts as a metric allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ...attention.qkv import ManifoldQKV
from .blocks import BlockCosts, BlockPrune, prune
from .choice import Choice

__all__ = ['Pruner', 'fewest', 'tried']

#: Into how many parts choices are cut, the ends of which are looked at first.
PARTS = 4


class Pruner:
    """Takes charts out of a model, again and again from what it was.

    Args:
        model (nn.Module): A model of mmengine, with ``test_step``.
        batches (Sequence): Pictures to calibrate with.
        costs (Sequence[BlockCosts]): What its charts are worth.
        progress (Callable): Goes through the layers' names.
    """

    def __init__(
        self, model: Any, batches: Sequence[Any], costs: Sequence[BlockCosts], progress: Callable
    ) -> None:
        self.model, self.batches, self.costs, self.progress = model, batches, costs, progress
        layers: dict[str, Any] = {each.layer: model.get_submodule(each.layer) for each in costs}
        self.layers: dict[str, ManifoldQKV] = layers
        self.own = {name: layer.key for name, layer in layers.items()}

    def __call__(self, choice: Choice) -> list[BlockPrune]:
        """Take charts out."""
        for name, layer in self.layers.items():
            layer.key = self.own[name]
        kept = {each.layer: each.kept[count] for each, count in zip(self.costs, choice.counts)}
        return prune(self.model, self.batches, kept, self.progress)


def fewest(choices: Sequence[Choice], allowed: Callable[[Choice], bool]) -> int:
    """Where among ever fewer charts one lies that is allowed; -1 for none that was looked at.

    What charts cost need not grow as they go, and looking at all is too much. So looks go from the
    fewest charts to ever more, a quarter of the choices at a time, until one is allowed; then by
    bisection between that and the next, which is not. Where loss only grows, no choice with fewer
    charts is allowed; where it does not, none that was looked at. At most four looks more than
    bisection alone.

    Args:
        choices (Sequence[Choice]): Ever fewer charts.
        allowed (Callable): Measures one.
    """
    good, bad = -1, len(choices)
    ends = {math.ceil(len(choices) * part / PARTS) - 1 for part in range(1, PARTS + 1)}
    for end in sorted(ends, reverse=True) if choices else ():
        if allowed(choices[end]):
            good = end
            break
        bad = end
    while bad - good > 1:
        middle = (good + bad) // 2
        if allowed(choices[middle]):
            good = middle
        else:
            bad = middle
    return good


def tried(lost: Mapping[Choice, float], most: float, among: Sequence[Choice]) -> str:
    """The choices that were looked at, as a table, and what that says of the others.

    Args:
        lost (Mapping[Choice, float]): Points that each loses.
        most (float): Points that may be lost.
        among (Sequence[Choice]): All choices.
    """
    looked = [choice for choice in among if choice in lost]
    rows = [
        f'{choice.share:>20.1%}  {sum(choice.counts):>6}  {lost[choice]:>11.2f}  '
        + ('yes' if lost[choice] <= most else 'no')
        for choice in looked
    ]
    if len(looked) == 1:
        (one,) = looked
        first = 'it has the fewest charts' if lost[one] <= most else 'it is not allowed'
        told = f'1 of {len(among)} choices was tried: {first}'
        return '\n'.join(['operations that stay  charts  points less  allowed', *rows, told])
    grows = all(lost[a] <= lost[b] for a, b in pairwise(looked))
    return '\n'.join(
        [
            'operations that stay  charts  points less  allowed',
            *rows,
            f'{len(looked)} of {len(among)} choices were tried; '
            + (
                'loss grew as charts went, and others were taken to follow'
                if grows
                else 'some with fewer charts lost less than others with more, so one that was not '
                'tried may have fewer charts than this one and be allowed'
            ),
        ]
    )
