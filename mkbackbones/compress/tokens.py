"""Tokens that a layer sees of calibration pictures, kept to be looked at more than once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..attention.qkv import ManifoldQKV
from .fold_calibrated import Enough, removed_after

__all__ = ['Tokens', 'tokens_of']


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


def tokens_of(model: Any, layer: ManifoldQKV, batches: Sequence[Any], most: int) -> list[Tokens]:
    """What a layer sees of pictures: whole windows, drawn at random, about as many of each batch.

    Args:
        model (nn.Module): A model of mmengine, with ``test_step``.
        layer (ManifoldQKV): The layer.
        batches (Sequence): What ``test_step`` takes.
        most (int): Tokens to keep in all, about.
    """
    kept: list[Tokens] = []
    generator = torch.Generator().manual_seed(0)

    def look(module: ManifoldQKV, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().float()
        number = max(round(most / len(batches) / x.shape[1]), 1)
        if number < len(x):
            drawn = torch.randperm(len(x), generator=generator)[:number]
            x = x[drawn.sort().values.to(x.device)]
        kept.append(Tokens(x, module.grid, module.num_prefix_tokens))
        raise Enough

    with removed_after([layer.register_forward_pre_hook(look)]):
        for batch in batches:
            with suppress(Enough):
                model.test_step(batch)
    return kept
