"""Context broadcasting: a block's MLP gives each token half of what all have in common.

``x <- (x + mean_n x) / 2`` at the end of the MLP, before layer scale and the residual sum
(Hyeon-Woo et al., "Scratching Visual Transformer's Back with Uniform Attention", ICCV 2023,
arXiv 2210.08457). It has no parameters. Over which tokens the mean goes is the paper's for the ViT,
and our definition in windows and for register tokens.
"""

import torch.nn.functional as F
from torch import Tensor

from .windows import missing

__all__ = ['broadcast_context', 'broadcast_in_windows', 'broadcasts']


def broadcast_context(x: Tensor) -> Tensor:
    """Mix in the mean over all tokens (B, N, C), class and register tokens among them."""
    return (x + x.mean(1, keepdim=True)) / 2


def broadcast_in_windows(x: Tensor, window: int, shift: int) -> Tensor:
    """Mix in the mean over the tokens that a token may attend to in its window.

    Of a shifted grid these are the tokens of its window that lie on the same side of the picture;
    what pads windows is none.

    Args:
        x (Tensor): Tokens (B, H, W, C).
        window (int): Window side.
        shift (int): Cyclic shift of the grid; 0 for none.

    Returns:
        Tensor: Tokens (B, H, W, C).
    """
    height, width = x.shape[1:3]
    # Shifted windows begin at the shift, and what lies before it is the rest of one.
    before = window - shift if shift else 0
    bottom, right = missing(before + height, window), missing(before + width, window)
    padding = (0, 0, before, right, before, bottom)
    batch, rows, columns, channels = (
        x.shape[0],
        (before + height + bottom) // window,
        (before + width + right) // window,
        x.shape[3],
    )

    def tiles(grid: Tensor, batch: int, channels: int) -> Tensor:
        return F.pad(grid, padding).reshape(batch, rows, window, columns, window, channels)

    there = tiles(x.new_ones(1, height, width, 1), 1, 1).sum((2, 4), keepdim=True)
    whole = tiles(x, batch, channels)
    mean = whole.sum((2, 4), keepdim=True) / there.clamp(min=1)
    mixed = ((whole + mean) / 2).reshape(batch, rows * window, columns * window, channels)
    return mixed[:, before : before + height, before : before + width]


def broadcasts(block: object) -> str | None:
    """What the kernels do not know of a block that broadcasts context; None for others."""
    return 'broadcasts context' if getattr(block, 'context_broadcasting', False) else None
