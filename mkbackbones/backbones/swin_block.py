"""The Swin block with the official semantics at every size, on timm's layers."""

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp, trunc_normal_
from timm.models.swin_transformer import get_relative_position_index
from torch import Tensor, nn

from ..attention.qkv import ManifoldQKV, head_views, project_half, set_grid
from ..fused.exact import DROP_PATH, LINEAR, NORM, Known, known
from ..kernels.geometry import Geometry
from .branches import Fused
from .context import broadcast_in_windows, broadcasts
from .windows import merge_windows, pad_to_windows, partition_windows


class WindowAttention(nn.Module):
    """Attention within windows, with relative position bias.

    Args:
        embed_dims (int): Channels C.
        num_heads (int): Attention heads h.
        window_size (int): Window side, in tokens.
        qkv_bias (bool): Whether query, key and value have a bias.
    """

    relative_position_index: Tensor

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
        self.qkv: nn.Linear | ManifoldQKV = nn.Linear(embed_dims, 3 * embed_dims, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def position_bias(self) -> Tensor:
        """Relative position bias (h, N, N) of the N tokens of a window."""
        # index_select, not indexing: its gradient needs no sorting.
        index = self.relative_position_index
        bias = self.relative_position_bias_table.index_select(0, index.flatten())
        return bias.unflatten(0, index.shape).permute(2, 0, 1)

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within each window.

        Args:
            windows (Tensor): Windows (B nW, N, C).
            mask (Tensor, optional): Additive mask (nW, N, N) of shifted windows.

        Returns:
            Tensor: Windows (B nW, N, C).
        """
        set_grid(self.qkv, (self.window_size, self.window_size))
        q, k, v = head_views(self.qkv(windows), self.num_heads)  # B nW, h, N, C/h
        x = attend_in_windows(q, k, v, self.position_bias(), mask)
        return self.proj(x.transpose(1, 2).flatten(2))

    def forward_fused(self, windows: Tensor, geometry: Geometry) -> Tensor:
        """Attend with the Triton kernel, which works out the mask itself, up to the projection.

        Args:
            windows (Tensor): Windows (B nW, N, C) in half precision.
            geometry (Geometry): The grid and its windows.

        Returns:
            Tensor: Windows (B nW, N, C).
        """
        from ..kernels.window_attention import window_attention

        set_grid(self.qkv, (self.window_size, self.window_size))
        qkv = project_half(self.qkv, windows)
        bias = self.position_bias().float()
        rows, columns, (_, _, window, shift) = geometry.rows, geometry.columns, geometry
        return window_attention(qkv, bias, rows, columns, window, shift)


def attend_in_windows(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    mask: Tensor | None,
    scale: float | None = None,
) -> Tensor:
    """Attention within each window.

    Args:
        q (Tensor): Queries (B nW, h, N, d).
        k (Tensor): Keys (B nW, h, N, d).
        v (Tensor): Values (B nW, h, N, d).
        bias (Tensor): Position bias (h, N, N).
        mask (Tensor, optional): Additive mask (nW, N, N) of shifted windows.
        scale (float, optional): Scale of the logits. Defaults to ``d ** -0.5``.

    Returns:
        Tensor: What each token attends to (B nW, h, N, d).
    """
    bias = bias.to(q.dtype)
    if mask is None:
        bias = bias.expand(q.shape[0], -1, -1, -1)  # a traced batch of 1 is no case of its own
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    # Windows folded into heads: the mask is shared by the images, not repeated for each.
    num_windows, num_heads = mask.shape[0], q.shape[1]
    bias = bias + mask[:, None].to(q.dtype)  # nW, h, N, N
    q, k, v = (t.unflatten(0, (-1, num_windows)).flatten(1, 2) for t in (q, k, v))
    bias = bias.flatten(0, 1).expand(q.shape[0], -1, -1, -1)
    x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    return x.unflatten(1, (num_windows, num_heads)).flatten(0, 1)


def attention_departs(attention: WindowAttention) -> str | None:
    """Windows and heads that the kernels' tiles do not hold."""
    from ..kernels.window_attention import fits_tile

    head_channels = attention.proj.in_features // attention.num_heads
    if fits_tile(attention.window_size, head_channels):
        return None
    side = attention.window_size
    return f'has windows of {side}x{side} tokens and heads of {head_channels} channels'


known[WindowAttention] = Known(
    dict(qkv=(nn.Linear, ManifoldQKV), proj=LINEAR),
    attention_departs,
    reads=('window_size', 'num_heads'),
)


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
        context_broadcasting (bool): Mix the mean of a token's window into what the MLP gives.
        attention_args: Further arguments of the attention.
    """

    attention: type[nn.Module] = WindowAttention

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        window_size: int,
        shift: int,
        mlp_ratio: float,
        qkv_bias: bool,
        drop_path: float,
        context_broadcasting: bool = False,
        **attention_args: Any,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift = shift
        self.context_broadcasting = context_broadcasting
        self.norm1 = nn.LayerNorm(embed_dims)
        self.attn = self.attention(embed_dims, num_heads, window_size, qkv_bias, **attention_args)
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

    def perceive(self, x: Tensor) -> Tensor:
        """The MLP of tokens (B, H, W, C)."""
        x = self.mlp(x)
        if self.context_broadcasting:
            return broadcast_in_windows(x, self.window_size, self.shift)
        return x

    def forward(
        self, x: Tensor, mask: Tensor | None = None, fused: Fused | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Run the block.

        Args:
            x (Tensor): Tokens (B, H, W, C).
            mask (Tensor, optional): Mask (nW, N, N) for the shifted grid; the Triton kernels need
                none.
            fused (Fused, optional): What the Triton kernels need; None for plain PyTorch.

        Returns:
            Tensor | tuple[Tensor, Tensor]: Tokens (B, H, W, C), and with ``fused.following`` what
            its ``norm1`` gives, in its windows.
        """
        if fused is not None:
            return self.forward_fused(x, fused)
        x = x + self.drop_path1(self.attend(self.norm1(x), mask))
        return x + self.drop_path2(self.perceive(self.norm2(x)))

    def forward_fused(self, x: Tensor, fused: Fused) -> Tensor | tuple[Tensor, Tensor]:
        """The block with norms, partition, attention and residual sums as Triton kernels."""
        from ..kernels.block_tail import Layers, block_tail
        from ..kernels.norm import window_norm

        dtype, scales, windows, following = fused
        geometry = self.geometry(x)
        if windows is None:
            windows = window_norm(x, self.norm1, geometry, dtype)
        attention: Any = self.attn  # a WindowAttention: exact.py refuses others
        windows = attention.forward_fused(windows, geometry)
        next_norm = None if following is None else following.norm1
        layers = Layers(attention.proj, self.norm2, self.mlp, next_norm)
        next_geometry = geometry if following is None else following.geometry(x)
        return block_tail(x, windows, scales, layers, geometry, next_geometry, True)

    def geometry(self, x: Tensor) -> Geometry:
        """The grid of tokens (B, H, W, C) and its windows, as the kernels take them."""
        return Geometry(x.shape[1], x.shape[2], self.window_size, self.shift)


known[SwinBlock] = Known(
    dict(
        norm1=NORM,
        attn=(WindowAttention,),
        drop_path1=DROP_PATH,
        norm2=NORM,
        mlp=(Mlp,),
        drop_path2=DROP_PATH,
    ),
    broadcasts,
    reads=('context_broadcasting',),
    called=True,
)
