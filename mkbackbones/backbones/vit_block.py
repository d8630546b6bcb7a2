"""The ViT block, global or windowed, on timm's."""

import torch
from timm.models.vision_transformer import Block
from torch import Tensor

from ..qkv import ManifoldQKV
from .windows import merge_windows, pad_to_windows, partition_windows


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

    def attend(self, x: Tensor, grid: tuple[int, int], num_prefix_tokens: int) -> Tensor:
        """Attention over normalised tokens (B, P + h w, C) -> the same shape."""
        window = self.window_size
        if isinstance(self.attn.qkv, ManifoldQKV):
            self.attn.qkv.grid = (window, window) if window else grid
            self.attn.qkv.num_prefix_tokens = num_prefix_tokens
        if not window:
            return self.attn(x)

        batch = x.shape[0]
        prefix, patches = x[:, :num_prefix_tokens], x[:, num_prefix_tokens:]
        patches = pad_to_windows(patches.unflatten(1, grid), window)
        size = patches.shape[1], patches.shape[2]
        windows = partition_windows(patches, window)  # B nW, w^2, C
        num_windows = (size[0] // window) * (size[1] // window)
        prefix = prefix[:, None].expand(-1, num_windows, -1, -1).flatten(0, 1)
        y = self.attn(torch.cat([prefix, windows], dim=1))
        prefix, windows = y[:, :num_prefix_tokens], y[:, num_prefix_tokens:]
        prefix = prefix.unflatten(0, (batch, num_windows)).mean(1)
        patches = merge_windows(windows, window, size)[:, : grid[0], : grid[1]]
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
        attended = self.attend(self.norm1(x), grid, num_prefix_tokens)
        x = x + self.drop_path1(self.ls1(attended))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
