"""Where tokens of a map lie, for heights and widths that may be symbols."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ['centres', 'sine_encoding']


def sine_encoding(encoding: Any, height: Any, width: Any) -> Tensor:
    """What mmdet's ``SinePositionalEncoding`` gives for a map, (height * width, C)."""
    frequency = torch.arange(encoding.num_feats, dtype=torch.float32)
    frequency = encoding.temperature ** (2 * (frequency // 2) / encoding.num_feats)
    sides = []
    for length in (height, width):
        place = torch.arange(1, length + 1, dtype=torch.float32)
        if encoding.normalize:
            place = (place + encoding.offset) / (length + encoding.eps) * encoding.scale
        angle = place[:, None] / frequency
        sides.append(torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], 2).flatten(1))
    rows = sides[0][:, None].expand(-1, width, -1)
    columns = sides[1][None].expand(height, -1, -1)
    return torch.cat([rows, columns], 2).flatten(0, 1)


def centres(height: Any, width: Any) -> Tensor:
    """Centres of the cells of a map as fractions, (height * width, 2), x and y."""
    y = (torch.arange(height) + 0.5) / height
    x = (torch.arange(width) + 0.5) / width
    grid = torch.meshgrid(y, x, indexing='ij')
    return torch.stack([grid[1], grid[0]], -1).flatten(0, 1)
