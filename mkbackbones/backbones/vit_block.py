"""The ViT block, global or windowed, on timm's."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from timm.models.vision_transformer import Attention, Block
from torch import Tensor, nn

from ..attention.qkv import ManifoldQKV, head_views, project_half, set_grid
from ..fused.exact import DROP_PATH, DROPOUT, LAYER_SCALE, LINEAR, NO_NORM, NORM, Known, known
from ..kernels.geometry import Geometry
from .branches import Fused
from .context import broadcast_context, broadcasts
from .windows import crop_grid, merge_windows, pad_to_windows, partition_windows


class WindowedBlock:
    """Attention of a block over the whole grid or within windows, for its ``attn``.

    Windows follow ViTDet (arXiv 2203.16527): the normalised tokens are padded with zeros to
    multiples of the window, which take part in the attention. Class and register tokens are seen
    by every window, and their results averaged over the windows (our definition).
    """

    attn: Any  # timm's Attention, as long as nobody wraps it
    mlp: Any
    #: Window side, in tokens; 0 for global attention.
    window_size: int
    #: Whether the mean of all tokens is mixed into what the MLP gives.
    context_broadcasting: bool

    def perceive(self, x: Tensor) -> Tensor:
        """The MLP of tokens (B, P + h w, C)."""
        x = self.mlp(x)
        return broadcast_context(x) if self.context_broadcasting else x

    def attend(
        self,
        x: Tensor,
        grid: tuple[int, int],
        num_prefix_tokens: int,
        attention: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Attention over normalised tokens (B, P + h w, C) -> the same shape."""
        window = self.window_size
        layer = getattr(self.attn, 'qkv', self.attn)  # self.attn may have been wrapped
        set_grid(layer, (window, window) if window else grid, num_prefix_tokens)
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


class ViTBlock(WindowedBlock, Block):
    """timm's block with attention over the whole grid or within windows.

    Args:
        dim (int): Channels C.
        num_heads (int): Attention heads.
        window_size (int): Window side, in tokens; 0 for global attention.
        context_broadcasting (bool): Mix the mean of all tokens into what the MLP gives.
        **kwargs: As in timm's ``Block``.
    """

    norm1: nn.LayerNorm
    norm2: nn.LayerNorm
    mlp: Mlp

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int = 0,
        context_broadcasting: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(dim, num_heads, **kwargs)
        self.window_size = window_size
        self.context_broadcasting = context_broadcasting

    def forward(  # type: ignore[override]  # timm's knows no grid
        self,
        x: Tensor,
        grid: tuple[int, int],
        num_prefix_tokens: int,
        fused: Fused | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Run the block.

        Args:
            x (Tensor): Tokens (B, P + h w, C), the P prefix tokens first.
            grid (tuple[int, int]): Rows h and columns w of the patch grid.
            num_prefix_tokens (int): Class and register tokens P.
            fused (Fused, optional): What the Triton kernels need; None for plain PyTorch.

        Returns:
            Tensor | tuple[Tensor, Tensor]: Tokens (B, P + h w, C), and with ``fused.following``
            what its ``norm1`` gives.
        """
        if fused is not None:
            return self.forward_fused(x, grid, num_prefix_tokens, fused)
        attended = self.attend(self.norm1(x), grid, num_prefix_tokens, self.attn)
        x = x + self.drop_path1(self.ls1(attended))
        return x + self.drop_path2(self.ls2(self.perceive(self.norm2(x))))

    def forward_fused(
        self, x: Tensor, grid: tuple[int, int], num_prefix_tokens: int, fused: Fused
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The block with norms and residual sums as Triton kernels."""
        from ..kernels.block_tail import Layers, block_tail
        from ..kernels.norm import window_norm

        dtype, scales, normed, following = fused
        geometry = Geometry(1, x.shape[1])
        if normed is None:
            normed = window_norm(x, self.norm1, geometry, dtype)
        attention: Callable[[Tensor], Tensor] = self.fused_attention
        proj: nn.Linear | None = self.attn.proj
        if self.window_size:  # what windows share is averaged behind the projection
            attention, proj = self.projected_attention, None
        attended = self.attend(normed, grid, num_prefix_tokens, attention)
        next_norm = None if following is None else following.norm1
        layers = Layers(proj, self.norm2, self.mlp, next_norm, self.ls1, self.ls2)
        return block_tail(x, attended, scales, layers, geometry, geometry, False)

    def fused_attention(self, x: Tensor) -> Tensor:
        """timm's attention up to its output projection, without dropout and norms inside."""
        from ..kernels.heads import split_heads
        from ..kernels.linears import builds_graph

        split = split_heads if builds_graph() else head_views
        q, k, v = split(project_half(self.attn.qkv, x), self.attn.num_heads)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def projected_attention(self, x: Tensor) -> Tensor:
        """timm's attention with its output projection."""
        from ..kernels.linears import half_linear

        return half_linear(self.attn.proj, self.fused_attention(x))


known[Attention] = Known(
    dict(
        qkv=(nn.Linear, ManifoldQKV),
        q_norm=NO_NORM,
        k_norm=NO_NORM,
        attn_drop=DROPOUT,
        norm=NO_NORM,
        proj=LINEAR,
        proj_drop=DROPOUT,
    )
)
known[ViTBlock] = Known(
    dict(
        norm1=NORM,
        attn=(Attention,),
        ls1=LAYER_SCALE,
        drop_path1=DROP_PATH,
        norm2=NORM,
        mlp=(Mlp,),
        ls2=LAYER_SCALE,
        drop_path2=DROP_PATH,
    ),
    broadcasts,
    reads=('context_broadcasting',),
    called=True,
)
