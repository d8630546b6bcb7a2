"""Tokens that a layer sees of calibration pictures, kept to be looked at more than once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..attention.inject import parent_of
from ..attention.qkv import ManifoldQKV
from .fold_calibrated import Call, Enough, calls_of, removed_after

__all__ = ['Seen', 'Tokens', 'seen_by']


@dataclass
class Tokens:
    """Some windows of tokens of one batch.

    Args:
        x (Tensor): Tokens (windows, N, C), float32.
        grid (tuple[int, int] | None): Their rows and columns, as the layer knew them.
        num_prefix_tokens (int): Class and register tokens before the grid.
    """

    x: Tensor
    grid: tuple[int, int] | None
    num_prefix_tokens: int

    def __len__(self) -> int:
        return self.x.shape[:-1].numel()


@dataclass
class Seen:
    """What one layer sees of calibration pictures.

    Args:
        tokens (list[Tokens]): Whole windows, drawn at random, about as many of each batch.
        calls (list[Call]): What its attention is called with, of the first pictures.
    """

    tokens: list[Tokens] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


def seen_by(model: Any, most: Mapping[str, int], batches: Sequence[Any]) -> dict[str, Seen]:
    """What layers see of pictures, in one pass over these, which ends behind the last layer.

    A second one over the first pictures shows what their attention is called with.

    Args:
        model (nn.Module): A model of mmengine, with ``test_step``.
        most (Mapping[str, int]): Names of the layers, and tokens to keep of each in all, about.
        batches (Sequence): What ``test_step`` takes.
    """
    found = {name: Seen() for name in most}
    draws = {name: torch.Generator().manual_seed(0) for name in most}
    missing: set[str] = set()

    def look(name: str, module: ManifoldQKV, inputs: tuple[Tensor, ...]) -> None:
        if name not in missing:  # called again
            return
        x = inputs[0].detach().float()
        number = max(round(most[name] / len(batches) / x.shape[1]), 1)
        if number < len(x):
            drawn = torch.randperm(len(x), generator=draws[name])[:number]
            x = x[drawn.sort().values.to(x.device)]
        # What comes behind may change it in place.
        found[name].tokens.append(Tokens(x.clone(), module.grid, module.num_prefix_tokens))
        missing.remove(name)
        if not missing:
            raise Enough

    layers = {name: model.get_submodule(name) for name in most}
    hooks = [layer.register_forward_pre_hook(partial(look, name)) for name, layer in layers.items()]
    with removed_after(hooks):
        for batch in batches:
            missing.update(most)
            with suppress(Enough):
                model.test_step(batch)
    attentions = {name: parent_of(model, name) for name in most}
    for name, calls in calls_of(model, attentions, batches).items():
        found[name].calls = calls
    return found
