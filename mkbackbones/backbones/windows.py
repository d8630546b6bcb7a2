"""Windows over a token grid: padding, partition, and the mask of shifted windows."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..compat.modes import is_compiling


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
    if is_compiling() or bottom or right:  # one graph for every size
        return F.pad(x, (0, 0, 0, right, 0, bottom))
    return x


def stack_patches(x: Tensor) -> Tensor:
    """Tokens (B, H, W, C) of 2x2 patches in one: (B, ceil(H / 2), ceil(W / 2), 4 C), as in timm."""
    x = pad_to_windows(x, 2).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    return x.permute(0, 1, 3, 4, 2, 5).flatten(3)  # down before right


def crop_grid(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo :func:`pad_to_windows`: tokens (B, Hp, Wp, C) -> (B, H, W, C)."""
    x = x[:, : size[0], : size[1]]
    # A graph for every size cannot ask whether there was anything to cut off.
    return x.clone(memory_format=torch.contiguous_format) if is_compiling() else x


def pad_to_patches(images: Tensor, patch: int) -> Tensor:
    """Pad images (B, 3, H, W) with zeros to whole patches.

    timm's patch embedding could do it, but symbolic shapes do not simplify what it writes for it.
    """
    height, width = images.shape[2:]
    bottom, right = missing(height, patch), missing(width, patch)
    if is_compiling() or bottom or right:  # one graph for every size
        return F.pad(images, (0, right, 0, bottom))
    return images


def missing(length: int, multiple: int) -> int:
    """What a length lacks to the next multiple.

    Written so that symbolic shapes can simplify it, and without dividing a negative number, which
    rounds the other way in ONNX.
    """
    return (length + multiple - 1) // multiple * multiple - length


def partition_windows(x: Tensor, window: int) -> Tensor:
    """Cut a padded grid into windows.

    Args:
        x (Tensor): Tokens (B, Hp, Wp, C), sides multiples of the window.
        window (int): Window side.

    Returns:
        Tensor: Windows (B * nW, window^2, C), row by row within an image.
    """
    batch, height, width, channels = x.shape
    rows, columns = height // window, width // window
    x = x.reshape(batch, rows, window, columns, window, channels).transpose(2, 3)
    # Every side is given: symbolic shapes grow beyond measure where they are worked out by -1. And
    # cloned, as reshape would: a graph for every size cannot ask whether one window is a view.
    x = x.clone(memory_format=torch.contiguous_format)
    return x.view(batch * rows * columns, window * window, channels)


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
    batch, channels = windows.shape[0] // (rows * columns), windows.shape[-1]
    x = windows.reshape(batch, rows, columns, window, window, channels).transpose(2, 3)
    return x.clone(memory_format=torch.contiguous_format).view(batch, *size, channels)


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
        band = (position >= length - window).int() + (position >= length - shift).int()
        return band.reshape(length // window, window)

    rows, columns = bands(size[0])[:, None, :, None], bands(size[1])[None, :, None]
    region = (3 * rows + columns).reshape(-1, window * window)  # nW, w^2
    differs = region[:, :, None] != region[:, None]
    return differs.float() * -100.0
