"""Where in the picture the tokens of an attention layer lie, whoever wrote the layer.

Blocks pad, shift and cut the grid of tokens before they attend. Instead of knowing how each one
does it, its tokens are numbered and sent through it: what arrives at the ``qkv`` layer are the
numbers, and zeros where something was padded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .watch import Enough, Grid, Seen, hooked

__all__ = ['Places', 'find_places']

#: A model has fewer class and register tokens.
MOST_PREFIX = 64


@dataclass
class Places:
    """Where the tokens of a layer lie.

    Args:
        index (Tensor): Of each token the cell of the grid, row by row, (windows, N) int64; -1 for
            class and register tokens, -2 for what windows are padded with.
        grid (Grid): Rows and columns of the picture's tokens.
        stride (int): Side of a cell in pixels of what the network takes.
    """

    index: Tensor
    grid: Grid
    stride: int

    def of(self, row: int, column: int) -> tuple[int, int]:
        """The window, and the token in it, of a cell."""
        found = (self.index == row * self.grid[1] + column).nonzero()
        window, token = found[0].tolist()
        return window, token

    def spread(self, values: Tensor) -> Tensor:
        """Values of tokens (windows, N, D) as maps (D, rows, columns)."""
        flat = values.new_full((self.grid[0] * self.grid[1], values.shape[-1]), torch.nan)
        there = self.index >= 0
        flat[self.index[there]] = values[there]
        return flat.T.unflatten(1, self.grid)


@torch.no_grad()
def find_places(seen: Seen, size: tuple[int, int], first: Places | None = None) -> Places | None:
    """Find out where a layer's tokens lie.

    Args:
        seen (Seen): The layer in a pass of one picture.
        size (tuple[int, int]): Height and width of what the network took.
        first (Places, optional): Of the first layer, whose stride is the unit of the others'.

    Returns:
        Places | None: None where it cannot be told.
    """
    tokens = first_tensor(seen.block_call)
    numbers = None if tokens is None else arriving(seen, tokens)
    if tokens is None or numbers is None:
        return None
    count = tokens.shape[:-1].numel()
    grid = picture_grid(seen, tokens)
    if grid is None or not 0 <= count - grid[0] * grid[1] < MOST_PREFIX:
        return None
    prefix = count - grid[0] * grid[1]
    index = torch.where(numbers == 0, -2, (numbers - 1 - prefix).clamp(min=-1))
    cells = torch.arange(grid[0] * grid[1], device=index.device)
    if int(index.max()) >= len(cells) or not torch.isin(cells, index).all():
        return None
    return Places(index, grid, stride_of(grid, size, None if first is None else first.stride))


def arriving(seen: Seen, tokens: Tensor) -> Tensor | None:
    """The numbers of tokens (windows, N), from 1, that arrive at ``qkv``; zeros are padding."""
    found: list[Tensor] = []

    def number(module: nn.Module, inputs: Any, output: Any) -> Any:
        return numbered(output) if isinstance(output, Tensor) and output.dim() >= 3 else None

    def arrive(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0][..., 0].round().long())
        raise Enough

    # What comes before the attention, such as a norm, would change the numbers.
    before = [
        child
        for child in seen.block.children()
        if all(module is not seen.layer for module in child.modules())
    ]
    hooks = [child.register_forward_hook(number) for child in before]
    hooks.append(seen.layer.register_forward_pre_hook(arrive))
    args, kwargs = seen.block_call

    def instead(arg: Any) -> Any:
        return numbered(tokens) if arg is tokens else arg

    args = tuple(instead(arg) for arg in args)
    kwargs = {name: instead(arg) for name, arg in kwargs.items()}
    with hooked(hooks), suppress(Enough):
        seen.block(*args, **kwargs)
    if not found or found[0].shape != seen.tokens.shape[:2]:
        return None
    return found[0]


def numbered(tokens: Tensor) -> Tensor:
    """Tokens (..., C) whose channels are their number, from 1."""
    count = tokens.shape[:-1].numel()
    numbers = torch.arange(1, count + 1, device=tokens.device, dtype=torch.float32)
    return numbers.view(*tokens.shape[:-1], 1).expand(tokens.shape).contiguous()


def first_tensor(call: tuple[tuple, dict]) -> Tensor | None:
    """The tokens among the arguments of a block."""
    args, kwargs = call
    for arg in (*args, *kwargs.values()):
        if isinstance(arg, Tensor) and arg.dim() >= 3 and arg.is_floating_point():
            return arg
    return None


def picture_grid(seen: Seen, tokens: Tensor) -> Grid | None:
    """Rows and columns of the picture's tokens, from what a block is given."""
    if tokens.dim() == 4:  # (1, H, W, C)
        return tokens.shape[1], tokens.shape[2]
    count = tokens.shape[:-1].numel()
    args, kwargs = seen.block_call
    for grid in grids_in((*args, *kwargs.values())):
        if 0 <= count - grid[0] * grid[1] < MOST_PREFIX:
            return grid
    return seen.patch_grid


def grids_in(args: tuple) -> Iterator[Grid]:
    """Pairs of positive integers among arguments."""
    for arg in args:
        if (
            isinstance(arg, tuple | list)
            and len(arg) == 2
            and all(isinstance(side, int) and side > 0 for side in arg)
        ):
            yield int(arg[0]), int(arg[1])


def stride_of(grid: Grid, size: tuple[int, int], unit: int | None) -> int:
    """Side of a cell in pixels: a power of two times that of the first layer.

    Grids are rounded up, so that a side may belong to several strides; the smallest is taken.
    """
    least = max(-(-length // side) for length, side in zip(size, grid))
    if unit is None:
        return least
    stride = unit
    while stride < least:
        stride *= 2
    return stride
