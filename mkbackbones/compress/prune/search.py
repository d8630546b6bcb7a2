"""As few charts as a metric allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...attention.qkv import ManifoldQKV
from .blocks import BlockCosts, BlockPrune, prune
from .choice import Choice

__all__ = ['Pruner', 'fewest']


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
    """Where among ever fewer charts the last choice lies that is allowed; -1 for none.

    By bisection: a choice with fewer charts than one that is not allowed is taken as not allowed,
    so that about log2 of the choices are measured.

    Args:
        choices (Sequence[Choice]): Ever fewer charts.
        allowed (Callable): Measures one.
    """
    good, bad = -1, len(choices)
    while bad - good > 1:
        middle = (good + bad) // 2
        if allowed(choices[middle]):
            good = middle
        else:
            bad = middle
    return good
