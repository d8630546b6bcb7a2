"""The ViT block, global or windowed, on timm's."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor

from ..attention.qkv import ManifoldQKV
from ..kernels import fused_dtype
from .branches import Scales, draw_scales
from .windows import crop_grid, merge_windows, pad_to_windows, partition_windows


class ViTBlock(Block):
    """timm's block with attention over the whole grid or within windows.

    Windows follow ViTDet (arXiv 2203.16527): the normalised tokens are padded with zeros to
    multiples of the window, which take part in the attention. Class and register tokens are seen
    by every window, and their results averaged over the windows (our definition).

    Args:
        dim (int): Channels C.
        num_heads (int): Attention heads.
        window_size (int): Window side, in tokens; 0 for global attention.
        **kwargs: As in timm's ``Block``.
    """

    def __init__(self, dim: int, num_heads: int, window_size: int = 0, **kwargs) -> None:
        super().__init__(dim, num_heads, **kwargs)
        self.window_size = window_size

    def attend(
        self,
        x: Tensor,
        grid: tuple[int, int],
        num_prefix_tokens: int,
        attention: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Attention over normalised tokens (B, P + h w, C) -> the same shape."""
        window = self.window_size
        if isinstance(self.attn.qkv, ManifoldQKV):
            self.attn.qkv.grid = (window, window) if window else grid
            self.attn.qkv.num_prefix_tokens = num_prefix_tokens
        if not window:
            return attention(x)

        batch = x.shape[0]
        prefix, patches = x[:, :num_prefix_tokens], x[:, num_prefix_tokens:]
        patches = pad_to_windows(patches.unflatten(1, grid), window)
        size = patches.shape[1], patches.shape[2]
        windows = partition_windows(patches, window)  # B nW, w^2, C
        num_windows = (size[0] // window) * (size[1] // window)
        prefix = prefix[:, None].expand(-1, num_windows, -1, -1).flatten(0, 1)
        y = attention(torch.cat([prefix, windows], dim=1))
        prefix, windows = y[:, :num_prefix_tokens], y[:, num_prefix_tokens:]
        prefix = prefix.unflatten(0, (batch, num_windows)).mean(1)
        patches = crop_grid(merge_windows(windows, window, size), grid)
        return torch.cat([prefix, patches.flatten(1, 2)], dim=1)

    def forward(
        self,
        x: Tensor,
        grid: tuple[int, int],
        num_prefix_tokens: int,
        normed: Tensor | None = None,
        scales: Scales | None = None,
        following: 'ViTBlock | None' = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Run the block.

        Args:
            x (Tensor): Tokens (B, P + h w, C), the P prefix tokens first.
            grid (tuple[int, int]): Rows h and columns w of the patch grid.
            num_prefix_tokens (int): Class and register tokens P.
            normed (Tensor, optional): ``norm1(x)``, where the block before has worked it out.
            scales (tuple, optional): Stochastic depth of the two branches; drawn here by default.
            following (ViTBlock, optional): The next block, for what it needs to be worked out.

        Returns:
            Tensor | tuple[Tensor, Tensor]: Tokens (B, P + h w, C), and with ``following`` its
            ``norm1`` of them. The last three arguments are for the Triton kernels alone.
        """
        dtype = fused_dtype(x)
        if dtype is not None:
            place = grid, num_prefix_tokens
            return self.forward_fused(x, *place, dtype, normed, scales, following)
        attended = self.attend(self.norm1(x), grid, num_prefix_tokens, self.attn)
        x = x + self.drop_path1(self.ls1(attended))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    def forward_fused(
        self,
        x: Tensor,
        grid: tuple[int, int],
        num_prefix_tokens: int,
        dtype: torch.dtype,
        normed: Tensor | None,
        scales: Scales | None,
        following: 'ViTBlock | None',
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The block with norms and residual sums as Triton kernels."""
        from ..kernels.block_tail import IDENTITY, Layers, block_tail
        from ..kernels.norm import window_norm

        geometry = (1, x.shape[1], 0, 0)
        if normed is None:
            normed = window_norm(x, self.norm1, geometry, dtype)
        scales = draw_scales(self, x) if scales is None else scales
        attention, proj = self.fused_attention, self.attn.proj
        if self.window_size:  # what windows share is averaged behind the projection
            attention, proj = self.projected_attention, IDENTITY
        attended = self.attend(normed, grid, num_prefix_tokens, attention)
        next_norm = None if following is None else following.norm1
        layers = Layers(proj, self.norm2, self.mlp, next_norm, self.ls1, self.ls2)
        return block_tail(x, attended, scales, layers, geometry, geometry, False)

    def fused_attention(self, x: Tensor) -> Tensor:
        """timm's attention up to its output projection, without dropout and norms inside."""
        from ..kernels.heads import split_heads
        from ..kernels.linears import half_linear

        q, k, v = split_heads(half_linear(self.attn.qkv, x), self.attn.num_heads)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def projected_attention(self, x: Tensor) -> Tensor:
        """timm's attention with its output projection."""
        from ..kernels.linears import half_linear

        return half_linear(self.attn.proj, self.fused_attention(x))
