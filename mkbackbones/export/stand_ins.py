"""Modules in the place of those that the converter writes for one size alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ['AdaptivePool', 'put_stand_ins']


class AdaptivePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two matrix products, which are written for every size.

    Args:
        output_size (tuple[int, int]): Rows and columns of the result.
    """

    def __init__(self, output_size: tuple[int, int]) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, maps: Tensor) -> Tensor:
        rows, columns = self.output_size
        if rows == columns == 1:
            return maps.mean((2, 3), keepdim=True)
        height, width = maps.shape[2:]
        return shares(rows, height) @ maps @ shares(columns, width).T


def shares(cells: int, length: Any) -> Tensor:
    """What each of so many cells takes of each place, (cells, length); a row adds up to 1."""
    cell = torch.arange(cells)[:, None]
    place = torch.arange(length)[None]
    begin, end = cell * length // cells, ((cell + 1) * length + cells - 1) // cells
    inside = (place >= begin) & (place < end)
    return inside.float() / (end - begin).float()


def put_stand_ins(model: nn.Module) -> None:
    """Put stand-ins into a model, in place."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.AdaptiveAvgPool2d:
                size: Any = child.output_size
                pair = (size, size) if isinstance(size, int) else tuple(size)
                if None not in pair:
                    setattr(module, name, AdaptivePool(pair))
