"""Values that differ between libraries, not in their name but in order or size."""

import math
from collections.abc import Mapping, Sequence

import torch
from timm.layers import (
    resample_abs_pos_embed,
    resample_patch_embed,
    resize_rel_pos_bias_table,
)
from timm.models.swin_transformer import get_relative_position_index
from torch import Tensor

#: The official patch merging stacks the pixels of a 2x2 patch column by column, ``nn.Unfold`` row
#: by row; the permutation is its own inverse.
MERGING_ORDER = [0, 2, 1, 3]


def merging_from_unfold(value: Tensor) -> Tensor:
    """Reorder the last dimension (4 C) of a patch merging weight: channel by channel to ours."""
    return value.unflatten(-1, (-1, 4))[..., MERGING_ORDER].transpose(-1, -2).flatten(-2)


def merging_to_unfold(value: Tensor) -> Tensor:
    """Undo :func:`merging_from_unfold`."""
    return value.unflatten(-1, (4, -1))[..., MERGING_ORDER, :].transpose(-1, -2).flatten(-2)


def window_index(table: Tensor) -> Tensor | None:
    """The standard ``relative_position_index`` (N, N) for a bias table ((2 w - 1)^2, h).

    None if the table is not of a square window.
    """
    side = math.isqrt(table.shape[0])
    if side * side != table.shape[0] or side % 2 == 0:
        return None
    return get_relative_position_index((side + 1) // 2, (side + 1) // 2)


def standard_table(table: Tensor, index: Tensor) -> Tensor | None:
    """A bias table that gives, through the standard index, what it gave through its own.

    Args:
        table (Tensor): Relative position bias ((2 w - 1)^2, h).
        index (Tensor): The stored ``relative_position_index`` (N, N).

    Returns:
        Tensor | None: The table; None if no order of it does.
    """
    standard = window_index(table)
    if standard is None or standard.shape != index.shape:
        return None
    standard, index = standard.flatten(), index.flatten().long()
    if not bool(((index >= 0) & (index < len(table))).all()):
        return None
    if torch.equal(standard, index):
        return table
    reordered = table.clone()
    reordered[standard] = table[index]
    return reordered if torch.equal(reordered[standard], table[index]) else None


def resize_table(table: Tensor, window_size: int) -> Tensor:
    """Resample a bias table ((2 w - 1)^2, h) to another window; itself if that cannot be done."""
    if table.dim() != 2 or window_index(table) is None:
        return table
    shape = ((2 * window_size - 1) ** 2, table.shape[1])
    return resize_rel_pos_bias_table(table, (window_size, window_size), shape)


def resize_patches(weight: Tensor, patch_size: Sequence[int]) -> Tensor:
    """Resample a patch embedding (C, 3, p, p), also a flattened one, to another patch size."""
    if weight.dim() == 2 and weight.shape[1] % 3 == 0:
        side = math.isqrt(weight.shape[1] // 3)
        if 3 * side * side == weight.shape[1]:
            weight = weight.unflatten(1, (3, side, side))
    if weight.dim() != 4 or tuple(weight.shape[2:]) == tuple(patch_size):
        return weight
    return resample_patch_embed(weight, list(patch_size))


def resize_positions(pos_embed: Tensor, grid: tuple[int, int], num_prefix: int) -> Tensor:
    """Resample a position embedding (1, P + N, C); itself if its own grid is no square."""
    side = math.isqrt(pos_embed.shape[1] - num_prefix)
    if pos_embed.shape[1] - num_prefix != side * side:
        return pos_embed
    return resample_abs_pos_embed(pos_embed, list(grid), [side, side], num_prefix)


def count_prefix(num_positions: int, num_tokens: int) -> int | None:
    """How many prefix tokens a position embedding covers.

    Args:
        num_positions (int): Positions stored.
        num_tokens (int): Class, register and distillation tokens of the model.

    Returns:
        int | None: 0, 1 (the class token) or all; None if no choice leaves a square grid.
    """
    for num_prefix in (0, 1, num_tokens):
        side = math.isqrt(max(num_positions - num_prefix, 0))
        if num_prefix <= num_tokens and side and side * side == num_positions - num_prefix:
            return num_prefix
    return None


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """Names of entries with values that are NaN or infinite."""
    return [
        name
        for name, value in state.items()
        if (value.is_floating_point() or value.is_complex()) and not bool(value.isfinite().all())
    ]
