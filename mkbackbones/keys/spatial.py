"""SpatialK: charts that read their neighbourhood on the token grid."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..arguments import check, one_of
from ..kernels.projections import KeyWeights
from ..registry import KEYS
from .summed import SummedKey

#: What the side of the convolution may be.
KERNEL_SIZE = one_of(range(1, 32, 2), 'an odd integer of at least 1 and at most 31, e.g. 3')


@KEYS.register_module()
class SpatialK(SummedKey):
    """``z_h = phi(DW_h(W_h u_h + b_h))`` and ``A`` = the mean over charts.

    DW is a depthwise convolution with zero padding over the token grid: the window in Swin and in
    windowed ViT blocks, the patch grid in global ViT blocks. Class and register tokens bypass it.
    It starts as the identity. The name is the paper's, the formula our definition.

    Args:
        kernel_size (int): Side of the convolution, odd.
        *args, **kwargs: As in :class:`SummedKey`; ``chart_channels`` has to equal the key's
            channels.
    """

    uses_grid = True

    def __init__(self, *args: Any, kernel_size: int = 3, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check('kernel_size', kernel_size, KERNEL_SIZE)
        self.kernel_size = kernel_size
        channels = self.num_charts * self.chart_channels
        self.spatial_weight = nn.Parameter(torch.empty(channels, 1, kernel_size, kernel_size))
        set_identity(self.spatial_weight)

    def each_chart(self, x: Tensor, grid: tuple[int, int] | None, num_prefix_tokens: int) -> Tensor:
        z = F.linear(x, *self.chart_map())
        z = mix_neighbours(z, self.spatial_weight, grid, num_prefix_tokens)
        return self.activate(z).unflatten(-1, (self.num_charts, self.chart_channels))

    def fused(
        self,
        x: Tensor,
        parameters: KeyWeights,
        grid: tuple[int, int] | None,
        num_prefix_tokens: int,
    ) -> Tensor:
        from ..kernels.activation import served_name
        from ..kernels.charts import aggregate_charts

        return aggregate_charts(
            x,
            parameters,
            self.num_charts,
            served_name(self.act),
            self.out_scale,
            gate=self.chart_gate(x),
            spatial=self.spatial_weight,
            grid=checked_grid(grid, x.shape[1] - num_prefix_tokens),
            prefix=num_prefix_tokens,
        )

    @torch.no_grad()
    def load_stock_charts(self, weight: Tensor, bias: Tensor | None) -> bool:
        if not super().load_stock_charts(weight, bias):
            return False
        set_identity(self.spatial_weight)
        return True


@torch.no_grad()
def set_identity(weight: Tensor) -> None:
    """Let a depthwise convolution (channels, 1, side, side) pass on what it reads."""
    weight.zero_()
    weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2] = 1


def mix_neighbours(
    z: Tensor, weight: Tensor, grid: tuple[int, int] | None, num_prefix_tokens: int
) -> Tensor:
    """Depthwise convolution over the token grid; class and register tokens bypass it.

    Args:
        z (Tensor): (B, N, channels).
        weight (Tensor): (channels, 1, side, side).
        grid (tuple[int, int], optional): Rows and columns; a square where none is known.
        num_prefix_tokens (int): Tokens before the grid.

    Returns:
        Tensor: (B, N, channels).

    Raises:
        ValueError: If the grid does not fit the number of tokens.
    """
    prefix, patches = z.split([num_prefix_tokens, z.shape[1] - num_prefix_tokens], dim=1)
    grid = checked_grid(grid, patches.shape[1])
    # (B, channels, h, w) with channels-last strides: no copy here and none on the way back.
    patches = patches.unflatten(1, grid).permute(0, 3, 1, 2)
    patches = F.conv2d(patches, weight, padding=weight.shape[-1] // 2, groups=len(weight))
    patches = patches.flatten(2).transpose(1, 2)
    return torch.cat([prefix, patches], dim=1) if num_prefix_tokens else patches


def checked_grid(grid: tuple[int, int] | None, num_tokens: int) -> tuple[int, int]:
    """The token grid; a square where none is known.

    Raises:
        ValueError: If it does not fit the number of tokens.
    """
    height, width = grid or square_grid(num_tokens)
    if height * width != num_tokens:
        raise ValueError(
            f'the token grid {height}x{width} does not fit {num_tokens} tokens; set '
            'ManifoldQKV.grid to the rows and columns of the tokens'
        )
    return height, width


def square_grid(num_tokens: int) -> tuple[int, int]:
    """The side lengths of a square token grid.

    Raises:
        ValueError: If the number of tokens is not a square.
    """
    side = math.isqrt(num_tokens)
    if side * side != num_tokens:
        raise ValueError(
            f'a key that mixes neighbours needs the token grid, and {num_tokens} tokens are no '
            'square; set ManifoldQKV.grid to the rows and columns of the tokens'
        )
    return side, side
