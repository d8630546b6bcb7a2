"""Milliseconds that charts take, as they run on this machine."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ...attention.qkv import ManifoldQKV
from ..fold_calibrated import removed_after

__all__ = ['LayerClock', 'in_turn', 'rising']

#: Runs before any is timed, and samples of each.
WARM_UP, ROUNDS = 3, 15
#: A sample lasts about so long, or is one run.
SAMPLE_MS = 5.0


class LayerClock:
    """Times layers with other keys, on the tokens that each sees of one picture.

    Args:
        model (nn.Module): A model of mmengine, with ``test_step``.
        layers (Iterable[str]): Names of the layers.
        batch (Any): What ``test_step`` takes, of one picture.
        timer (Callable, optional): Gives the milliseconds of each of some runs. Defaults to
            :func:`in_turn` on the model's device.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: Any,
        layers: Iterable[str],
        batch: Any,
        timer: Callable[[Sequence[Callable[[], Any]]], list[float]] | None = None,
    ) -> None:
        device = next(model.parameters()).device
        self.timer = partial(in_turn, device=device) if timer is None else timer
        self.model = model
        self.tokens: dict[str, list[Tensor]] = {name: [] for name in layers}

        def look(name: str, inputs: tuple[Tensor, ...]) -> None:
            self.tokens[name].append(inputs[0].clone())  # what comes behind may change it in place

        model.eval()
        hooks = [
            model.get_submodule(name).register_forward_pre_hook(
                lambda _, inputs, name=name: look(name, inputs)
            )
            for name in self.tokens
        ]
        with removed_after(hooks):
            model.test_step(batch)

    def __call__(self, name: str, keys: Sequence[nn.Module]) -> list[float]:
        """Milliseconds that a layer takes more than a stock one, with ever more charts.

        A time that is above that with more charts is noise: what comes closest without such is
        given, and nothing below 0.

        Args:
            name (str): Of the layer.
            keys (Sequence[nn.Module]): What it has for a key, fewest charts first.
        """
        layer: Any = self.model.get_submodule(name)
        layers = [layer.stock_part(), *(with_key(layer, key) for key in keys)]
        stock, *times = self.timer([partial(self.run, each.eval(), name) for each in layers])
        return [max(ms - stock, 0.0) for ms in rising(times)]

    def run(self, layer: nn.Module, name: str) -> None:
        """What a forward pass asks of a layer."""
        for x in self.tokens[name]:
            layer(x)


def with_key(layer: ManifoldQKV, key: nn.Module) -> ManifoldQKV:
    """A copy of a layer with another key, which is not copied."""
    return copy.deepcopy(layer, {id(layer.key): key})


@torch.no_grad()
def in_turn(runs: Sequence[Callable[[], Any]], device: torch.device) -> list[float]:
    """Median milliseconds of some runs, which take turns so that other load meets all alike.

    Args:
        runs (Sequence[Callable]): What to run.
        device (torch.device): Where; by its own clock on a GPU.
    """
    repeats = []
    for run in runs:
        once = min(sample_ms(run, 1, device) for _ in range(WARM_UP))
        repeats.append(math.ceil(SAMPLE_MS / max(once, 1e-2)))
    rounds = [
        [sample_ms(run, number, device) / number for run, number in zip(runs, repeats)]
        for _ in range(ROUNDS)
    ]
    return [median(each) for each in zip(*rounds)]


def sample_ms(run: Callable[[], Any], number: int, device: torch.device) -> float:
    """Milliseconds of so many runs in a row."""
    if device.type != 'cuda':
        start = time.perf_counter()
        for _ in range(number):
            run()
        return 1e3 * (time.perf_counter() - start)
    with torch.cuda.device(device):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        before.record()
        for _ in range(number):
            run()
        after.record()
        after.synchronize()
        return before.elapsed_time(after)


def rising(values: Sequence[float]) -> list[float]:
    """The numbers that never fall and come closest to some, in squares.

    By pooling of neighbours that are in the wrong order (isotonic regression).
    """
    pools: list[tuple[float, int]] = []  # mean, how many
    for value in values:
        mean, number = value, 1
        while pools and pools[-1][0] > mean:
            other, more = pools.pop()
            mean = (number * mean + more * other) / (number + more)
            number += more
        pools.append((mean, number))
    return [mean for mean, number in pools for _ in range(number)]
