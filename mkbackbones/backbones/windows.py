"""Windows over a token grid: padding, partition, and the mask of shifted windows."""

import torch
import torch.nn.functional as F
from torch import Tensor


def pad_to_windows(x: Tensor, window: int) -> Tensor:
    """Pad a grid with zeros at the bottom and right to multiples of the window.

    Args:
        x (Tensor): Tokens (B, H, W, C).
        window (int): Window side.

    Returns:
        Tensor: Tokens (B, Hp, Wp, C); ``x`` itself where nothing is missing.
    """
    height, width = x.shape[1:3]
    bottom, right = missing(height, window), missing(width, window)
    if torch.compiler.is_compiling() or bottom or right:  # one graph for every size
        return F.pad(x, (0, 0, 0, right, 0, bottom))
    return x


def missing(length: int, multiple: int) -> int:
    """What a length lacks to the next multiple, in a form that symbolic shapes can simplify."""
    return -(-length // multiple) * multiple - length


def partition_windows(x: Tensor, window: int) -> Tensor:
    """Cut a padded grid into windows.

    Args:
        x (Tensor): Tokens (B, Hp, Wp, C), sides multiples of the window.
        window (int): Window side.

    Returns:
        Tensor: Windows (B * nW, window^2, C), row by row within an image.
    """
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))  # B, nH, w, nW, w, C
    return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def merge_windows(windows: Tensor, window: int, size: tuple[int, int]) -> Tensor:
    """Undo :func:`partition_windows`.

    Args:
        windows (Tensor): Windows (B * nW, window^2, C).
        window (int): Window side.
        size (tuple[int, int]): Padded grid (Hp, Wp).

    Returns:
        Tensor: Tokens (B, Hp, Wp, C).
    """
    rows, columns = size[0] // window, size[1] // window
    x = windows.unflatten(1, (window, window)).unflatten(0, (-1, rows, columns))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def shifted_window_mask(
    size: tuple[int, int], window: int, shift: int, device: torch.device | str
) -> Tensor:
    """Additive attention mask of windows over a cyclically shifted grid.

    Tokens that were not neighbours before the shift do not see each other: -100 between them, the
    value of the official code, 0 elsewhere.

    Args:
        size (tuple[int, int]): Padded grid (Hp, Wp).
        window (int): Window side.
        shift (int): Shift of the grid, in tokens.
        device (torch.device): Where the mask is made.

    Returns:
        Tensor: Mask (nW, window^2, window^2), float32.
    """

    def bands(length: int) -> Tensor:
        position = torch.arange(length, device=device)
        return (position >= length - window).int() + (position >= length - shift).int()

    region = bands(size[0])[:, None] * 3 + bands(size[1])[None]
    region = partition_windows(region[None, :, :, None], window).squeeze(-1)  # nW, w^2
    differs = region[:, :, None] != region[:, None]
    return differs.float() * -100.0
