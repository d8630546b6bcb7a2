"""SpatialK: charts that read their neighbourhood on the token grid."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..arguments import check, one_of
from ..kernels.projections import KeyParameters
from ..registry import KEYS
from .base import ManifoldKey

#: What the side of the convolution may be.
KERNEL_SIZE = one_of(range(1, 32, 2), 'an odd integer of at least 1 and at most 31, e.g. 3')


@KEYS.register_module()
class SpatialK(ManifoldKey):
    """``z_h = phi(DW_h(W_h u_h + b_h))`` and ``A`` = the mean over charts.

    DW is a depthwise convolution with zero padding over the token grid: the window in Swin and in
    windowed ViT blocks, the patch grid in global ViT blocks. Class and register tokens bypass it.
    It starts as the identity. The name is the paper's, the formula our definition.

    Args:
        kernel_size (int): Side of the convolution, odd.
        *args, **kwargs: As in :class:`ManifoldKey`; ``chart_channels`` has to equal the key's
            channels.
    """

    uses_grid = True

    def __init__(self, *args, kernel_size: int = 3, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check('kernel_size', kernel_size, KERNEL_SIZE)
        self.kernel_size = kernel_size
        channels = self.num_charts * self.chart_channels
        self.spatial_weight = nn.Parameter(torch.empty(channels, 1, kernel_size, kernel_size))
        self.reset_spatial()

    @torch.no_grad()
    def reset_spatial(self) -> None:
        """Set the convolution to the identity."""
        self.spatial_weight.zero_()
        self.spatial_weight[:, :, self.kernel_size // 2, self.kernel_size // 2] = 1

    def charts(self, x: Tensor, grid: tuple[int, int] | None, num_prefix_tokens: int) -> Tensor:
        z = F.linear(x, *self.chart_map())
        prefix, patches = z.split([num_prefix_tokens, z.shape[1] - num_prefix_tokens], dim=1)
        patches = self.mix(patches, checked_grid(grid, patches.shape[1]))
        z = torch.cat([prefix, patches], dim=1) if num_prefix_tokens else patches
        z = self.activate(z).unflatten(-1, (self.num_charts, self.chart_channels))
        return self.aggregate(z, x)

    def fused(
        self,
        x: Tensor,
        parameters: KeyParameters,
        grid: tuple[int, int] | None,
        num_prefix_tokens: int,
    ) -> Tensor:
        from ..kernels.activation import activation_name
        from ..kernels.charts import aggregate_charts

        return aggregate_charts(
            x,
            parameters,
            self.num_charts,
            activation_name(self.act),
            self.out_scale,
            spatial=self.spatial_weight,
            grid=checked_grid(grid, x.shape[1] - num_prefix_tokens),
            prefix=num_prefix_tokens,
        )

    def mix(self, z: Tensor, grid: tuple[int, int]) -> Tensor:
        """Depthwise convolution of the grid's tokens: (B, h w, H d) -> the same shape."""
        # (B, H d, h, w) with channels-last strides: no copy here and none on the way back.
        z = z.unflatten(1, grid).permute(0, 3, 1, 2)
        z = F.conv2d(z, self.spatial_weight, padding=self.kernel_size // 2, groups=z.shape[1])
        return z.flatten(2).transpose(1, 2)

    def aggregate(self, z: Tensor, x: Tensor) -> Tensor:
        return z.mean(-2)

    @torch.no_grad()
    def load_stock_charts(self, weight: Tensor, bias: Tensor | None) -> bool:
        if not super().load_stock_charts(weight, bias):
            return False
        self.reset_spatial()
        return True


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
            f'SpatialK needs the token grid, and {num_tokens} tokens are no square; set '
            'ManifoldQKV.grid to the rows and columns of the tokens'
        )
    return side, side
