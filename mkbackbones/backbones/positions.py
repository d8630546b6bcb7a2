"""Position embeddings resampled to a patch grid, in compiled graphs for any size too."""

import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from ..compat.modes import is_compiling, is_exporting


def resample_positions(
    pos_embed: Tensor, grid: tuple[int, int], old_grid: tuple[int, int], num_prefix_tokens: int
) -> Tensor:
    """Resample a position embedding with timm's antialiased bicubic interpolation.

    Args:
        pos_embed (Tensor): (1, P + h w, C), the P prefix tokens first.
        grid (tuple[int, int]): Rows and columns wanted.
        old_grid (tuple[int, int]): Rows h and columns w that there are.
        num_prefix_tokens (int): P.

    Returns:
        Tensor: (1, P + rows columns, C).
    """
    if not is_compiling() or is_exporting():
        return resample_abs_pos_embed(pos_embed, grid, old_grid, num_prefix_tokens)
    # PyTorch (2.14) cannot trace the interpolation's backward pass to a size that is known only
    # when the graph runs. As products with constant matrices it needs none.
    prefix, positions = pos_embed.split([num_prefix_tokens, old_grid[0] * old_grid[1]], dim=1)
    with torch.autocast(pos_embed.device.type, enabled=False):
        rows = interpolation(old_grid[0], grid[0], pos_embed)
        columns = interpolation(old_grid[1], grid[1], pos_embed)
        positions = positions[0].float().unflatten(0, old_grid)
        # Two by two: the order of three is chosen by size where opt_einsum is installed.
        positions = torch.einsum('yh,hwc->ywc', rows, positions)
        positions = torch.einsum('xw,ywc->yxc', columns, positions)
    positions = positions.flatten(0, 1)[None].to(pos_embed.dtype)
    return torch.cat([prefix, positions], dim=1)


def interpolation(old: int, new: int, like: Tensor) -> Tensor:
    """The matrix (new, old) that interpolates ``old`` values to ``new`` ones, float32."""
    one_hot = torch.eye(old, device=like.device)[None, None]
    return F.interpolate(one_hot, (new, old), mode='bicubic', antialias=True)[0, 0]
