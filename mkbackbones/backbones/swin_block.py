"""The Swin block with the official semantics at every size, on timm's layers."""

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp, trunc_normal_
from timm.models.swin_transformer import get_relative_position_index
from torch import Tensor, nn

from ..qkv import ManifoldQKV
from .windows import merge_windows, pad_to_windows, partition_windows


class WindowAttention(nn.Module):
    """Attention within windows, with relative position bias.

    Args:
        embed_dims (int): Channels C.
        num_heads (int): Attention heads h.
        window_size (int): Window side, in tokens.
        qkv_bias (bool): Whether query, key and value have a bias.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, window_size: int, qkv_bias: bool = True
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        table = torch.empty((2 * window_size - 1) ** 2, num_heads)
        self.relative_position_bias_table = nn.Parameter(trunc_normal_(table, std=0.02))
        self.register_buffer(
            'relative_position_index',
            get_relative_position_index(window_size, window_size),
            persistent=False,
        )
        self.qkv: nn.Module = nn.Linear(embed_dims, 3 * embed_dims, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def position_bias(self) -> Tensor:
        """Relative position bias (h, N, N) of the N tokens of a window."""
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within each window.

        Args:
            windows (Tensor): Windows (B nW, N, C).
            mask (Tensor, optional): Additive mask (nW, N, N) of shifted windows.

        Returns:
            Tensor: Windows (B nW, N, C).
        """
        if isinstance(self.qkv, ManifoldQKV):
            self.qkv.grid = (self.window_size, self.window_size)
        qkv = self.qkv(windows).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # B nW, h, N, C/h
        bias = self.position_bias().to(q.dtype)
        if mask is None:
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
        else:
            # Windows folded into heads: the mask is shared by the images, not repeated for each.
            num_windows = mask.shape[0]
            bias = bias + mask[:, None].to(q.dtype)  # nW, h, N, N
            q, k, v = (t.unflatten(0, (-1, num_windows)).flatten(1, 2) for t in (q, k, v))
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.flatten(0, 1)[None])
            x = x.unflatten(1, (num_windows, self.num_heads)).flatten(0, 1)
        return self.proj(x.transpose(1, 2).flatten(2))


class SwinBlock(nn.Module):
    """Swin block: window attention and MLP, each normalised first and added.

    Args:
        embed_dims (int): Channels C.
        num_heads (int): Attention heads.
        window_size (int): Window side, in tokens.
        shift (int): Cyclic shift of the grid, in tokens; 0 for none.
        mlp_ratio (float): Hidden width of the MLP over C.
        qkv_bias (bool): Whether query, key and value have a bias.
        drop_path (float): Stochastic depth rate.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        window_size: int,
        shift: int,
        mlp_ratio: float,
        qkv_bias: bool,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift = shift
        self.norm1 = nn.LayerNorm(embed_dims)
        self.attn = WindowAttention(embed_dims, num_heads, window_size, qkv_bias)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.mlp = Mlp(embed_dims, int(embed_dims * mlp_ratio))
        self.drop_path2 = DropPath(drop_path)

    def attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Window attention over the grid: pad, roll, partition, attend and back."""
        height, width = x.shape[1:3]
        x = pad_to_windows(x, self.window_size)
        size = x.shape[1], x.shape[2]
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), dims=(1, 2))
        windows = partition_windows(x, self.window_size)
        windows = self.attn(windows, mask if self.shift else None)
        x = merge_windows(windows, self.window_size, size)
        if self.shift:
            x = torch.roll(x, (self.shift, self.shift), dims=(1, 2))
        return x[:, :height, :width]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Run the block.

        Args:
            x (Tensor): Tokens (B, H, W, C).
            mask (Tensor, optional): Mask (nW, N, N) for the shifted grid.

        Returns:
            Tensor: Tokens (B, H, W, C).
        """
        x = x + self.drop_path1(self.attend(self.norm1(x), mask))
        return x + self.drop_path2(self.mlp(self.norm2(x)))
