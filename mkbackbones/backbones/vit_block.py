"""The ViT block, global or windowed, on timm's."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor

from ..kernels import fused_dtype
from ..kernels.casts import HalfLinears
from ..qkv import ManifoldQKV
from .branches import drop_scale, scaled_sum
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

    def forward(self, x: Tensor, grid: tuple[int, int], num_prefix_tokens: int) -> Tensor:
        """Run the block.

        Args:
            x (Tensor): Tokens (B, P + h w, C), the P prefix tokens first.
            grid (tuple[int, int]): Rows h and columns w of the patch grid.
            num_prefix_tokens (int): Class and register tokens P.

        Returns:
            Tensor: Tokens (B, P + h w, C).
        """
        dtype = fused_dtype(x)
        if dtype is not None:
            return self.forward_fused(x, grid, num_prefix_tokens, dtype)
        attended = self.attend(self.norm1(x), grid, num_prefix_tokens, self.attn)
        x = x + self.drop_path1(self.ls1(attended))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    def forward_fused(
        self, x: Tensor, grid: tuple[int, int], num_prefix_tokens: int, dtype: torch.dtype
    ) -> Tensor:
        """The block with norms and residual sums as Triton kernels."""
        from ..kernels.norm import merge_norm, window_norm

        geometry = (1, x.shape[1], 0, 0)
        normed = window_norm(x, self.norm1, geometry, dtype)
        linear = HalfLinears((self.attn.qkv, self.attn.proj, self.mlp.fc1, self.mlp.fc2), dtype)
        attention = partial(self.fused_attention, linear=linear)
        attended = self.ls1(self.attend(normed, grid, num_prefix_tokens, attention))
        scale = drop_scale(self.drop_path1, x)
        x, normed = merge_norm(x, attended, scale, self.norm2, geometry, dtype)
        hidden = self.mlp.act(linear(self.mlp.fc1, normed))
        branch = self.ls2(linear(self.mlp.fc2, hidden))
        return scaled_sum(x, branch, drop_scale(self.drop_path2, x))

    def fused_attention(self, x: Tensor, linear: HalfLinears) -> Tensor:
        """timm's attention without dropout and norms inside, which the backbone does not use."""
        qkv = linear(self.attn.qkv, x).unflatten(-1, (3, self.attn.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        return linear(self.attn.proj, y.transpose(1, 2).flatten(2))
