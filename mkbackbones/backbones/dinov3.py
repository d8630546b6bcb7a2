"""ManifoldDINOv3: DINOv3's ViT with a manifold key, as an OpenMMLab backbone."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from timm.models.eva import EvaBlock
from torch import Tensor, nn

from ..arguments import FLAG, check_arguments, number
from ..checkpoints.families import DINOV3
from ..compat.blocks import why_no_dinov3
from ..fused.decision import Plan
from ..keys.build import KeyCfg
from ..registry import MODELS
from .base import ARCH_HINT, require_hidden, resolve_arch
from .plain_vit import PLAIN_ARCH, PLAIN_RULES, PlainViT
from .stem import embed_patches
from .vit_block import WindowedBlock
from .windows import missing, partition_windows

#: The ViTs of DINOv3 (arXiv 2508.10104, table 2 and the official code); those that it calls "plus"
#: have gated MLPs.
DINOV3_ARCHS = {
    'small': dict(embed_dims=384, depth=12, num_heads=6, swiglu=False),
    'small_plus': dict(embed_dims=384, depth=12, num_heads=6, swiglu=True),
    'base': dict(embed_dims=768, depth=12, num_heads=12, swiglu=False),
    'large': dict(embed_dims=1024, depth=24, num_heads=16, swiglu=False),
    'huge_plus': dict(embed_dims=1280, depth=32, num_heads=20, swiglu=True),
}
#: What the arguments may be; ANY is checked where its range is known.
DINOV3_RULES = dict(PLAIN_RULES, init_values=number(-1e6, 1e6))
#: What norms add to the variance.
NORM_EPS = 1e-5
#: Periods of the rotations grow from 1, which is half of the picture, to nearly this.
ROPE_BASE = 100.0
#: Hidden channels of a gated MLP are rounded up to a multiple of it.
SWIGLU_MULTIPLE = 8


class Rotations(NamedTuple):
    """Sines and cosines for the patches of a pass, as timm's attention takes them.

    Attributes:
        whole (Tensor | None): For global blocks, (h w, 2 C / heads).
        windows (Tensor | None): For windowed ones, (B nW, 1, window^2, 2 C / heads).
    """

    whole: Tensor | None
    windows: Tensor | None


class RotaryPositions(nn.Module):
    """Angles of rotary positions: of patch centres between -1 and 1 on both axes of the picture.

    The formula is DINOv3's (arXiv 2508.10104, section 3.2), and timm's ``RotaryEmbeddingDinoV3``,
    which works its table out on the CPU in every pass and knows whole grids alone. The periods are
    a buffer of the state dict, as in the official code, whose files have them rounded to bfloat16.

    Args:
        head_dims (int): Channels of a head, a multiple of 4.
    """

    periods: Tensor

    def __init__(self, head_dims: int) -> None:
        super().__init__()
        quarter = head_dims // 4
        self.register_buffer('periods', ROPE_BASE ** (torch.arange(quarter) / quarter))

    def forward(self, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Sines and cosines of a grid.

        Args:
            grid (tuple[int, int]): Rows and columns of the picture, which lie between -1 and 1.
            size (tuple[int, int]): Rows R and columns S wanted; those behind the picture's go on
                beyond 1.

        Returns:
            Tensor: Sines, then cosines, (R, S, 2 head_dims), float32 at least.
        """
        periods = self.periods.to(torch.promote_types(self.periods.dtype, torch.float32))
        places = (
            (torch.arange(length, device=periods.device, dtype=periods.dtype) + 0.5) / side * 2 - 1
            for length, side in zip(size, grid)
        )
        rows, columns = (2 * math.pi * place[:, None] / periods for place in places)

        def spread(rows: Tensor, columns: Tensor) -> Tensor:
            rows, columns = rows[:, None].expand(*size, -1), columns.expand(*size, -1)
            return torch.cat([rows, columns, rows, columns], dim=-1)  # halves of a head are rotated

        return torch.cat([spread(rows.sin(), columns.sin()), spread(rows.cos(), columns.cos())], -1)


class DINOv3Block(WindowedBlock, EvaBlock):
    """timm's block with rotary positions, with attention over the whole grid or within windows.

    Queries and keys are rotated by the place of their patch in the whole picture, in windows too,
    whatever made the keys: the charts take the place of the key's projection, and positions come
    after them (our definition). Query and value have a bias of their own, and the key has none.

    Args:
        dim (int): Channels C.
        num_heads (int): Attention heads.
        window_size (int): Window side, in tokens; 0 for global attention.
        context_broadcasting (bool): Mix the mean of all tokens into what the MLP gives.
        **kwargs: As in timm's ``EvaBlock``.
    """

    gamma_1: nn.Parameter
    gamma_2: nn.Parameter

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int = 0,
        context_broadcasting: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(dim, num_heads, rotate_half=True, **kwargs)
        self.window_size = window_size
        self.context_broadcasting = context_broadcasting
        # Call qkv, whatever it is, instead of reading its weight.
        self.attn.qkv_bias_separate = True

    def forward(  # type: ignore[override]  # timm's knows no grid
        self, x: Tensor, grid: tuple[int, int], num_prefix_tokens: int, rotations: Rotations
    ) -> Tensor:
        """Run the block.

        Args:
            x (Tensor): Tokens (B, P + h w, C), the P prefix tokens first.
            grid (tuple[int, int]): Rows h and columns w of the patch grid.
            num_prefix_tokens (int): Class and register tokens P, which are not rotated.
            rotations (Rotations): Sines and cosines of the patches.

        Returns:
            Tensor: Tokens (B, P + h w, C).
        """
        rope = rotations.windows if self.window_size else rotations.whole
        attention = partial(self.attn, rope=rope)
        attended = self.attend(self.norm1(x), grid, num_prefix_tokens, attention)
        x = x + self.drop_path1(self.gamma_1 * attended)
        return x + self.drop_path2(self.gamma_2 * self.perceive(self.norm2(x)))


@MODELS.register_module()
class ManifoldDINOv3(PlainViT):
    """DINOv3's Vision Transformer (arXiv 2508.10104), whose attention keys may be manifold keys.

    It has rotary positions instead of a position embedding, register tokens, layer scale, and plain
    or gated (SwiGLU) MLPs. A manifold key takes the place of the key's projection; queries and the
    keys that it yields are then rotated by the place of their patch, class and register tokens are
    not (our definition). In windowed blocks the places are those in the whole picture, and what
    pads the windows lies beyond its border.

    Args:
        arch (str | dict): ``small``, ``small_plus``, ``base``, ``large``, ``huge_plus``, or a dict
            with ``embed_dims``, ``depth``, ``num_heads`` and ``swiglu``, whether MLPs are gated.
        key_cfg (dict | list[dict] | None): The key of every block, or with ``blocks=[...]`` of
            some; None is the stock key. See :mod:`mkbackbones.keys`.
        patch_size (int): Patch side, in pixels.
        out_indices (int | Sequence[int]): Blocks to return.
        num_register_tokens (int): Register tokens (arXiv 2309.16588).
        window_size (int): Window side, in tokens, of windowed attention; 0: global everywhere.
        global_blocks (Sequence[int], optional): Blocks that stay global with ``window_size``.
            Defaults to the last block of each quarter, as in ViTDet.
        mlp_ratio (float): Hidden width of the MLP over the channels, of a gated one too: 4 in all
            of the named, which the official code calls 6 where it is gated.
        qkv_bias (bool): Whether query and value have a bias; the key has none.
        init_values (float): Initial layer scale.
        drop_path_rate (float): Stochastic depth rate of the last block.
        final_norm (bool): Normalise the last block's output.
        frozen_stages (int): -1 freezes nothing, 0 the embeddings, n also the first n blocks.
        with_cp (bool): Recompute each block in the backward pass to save memory.
        norm_eval (bool): Keep normalisation layers in evaluation mode while training.
        init_cfg (dict, optional): Initialisation, e.g. ``dict(type='Pretrained', checkpoint=...)``.
        context_broadcasting (bool): Mix the mean of tokens into what each MLP gives, see
            :mod:`mkbackbones.backbones.context`.

    Raises:
        ValueError: If an argument is out of range, or timm is older than 1.0.20.
    """

    family = DINOV3
    archs = DINOV3_ARCHS

    def __init__(
        self,
        arch: str | dict = 'base',
        key_cfg: KeyCfg = None,
        patch_size: int = 16,
        out_indices: int | Sequence[int] = -1,
        num_register_tokens: int = 4,
        window_size: int = 0,
        global_blocks: Sequence[int] | None = None,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        init_values: float = 1e-5,
        drop_path_rate: float = 0.1,
        final_norm: bool = True,
        frozen_stages: int = -1,
        with_cp: bool = False,
        norm_eval: bool = False,
        init_cfg: dict | None = None,
        context_broadcasting: bool = False,
        **unknown: object,
    ) -> None:
        check_arguments('ManifoldDINOv3', DINOV3_RULES, locals(), unknown, ARCH_HINT)
        if reason := why_no_dinov3():
            raise ValueError(reason)
        entries = (*PLAIN_ARCH, 'swiglu')
        cfg = resolve_arch('ManifoldDINOv3', arch, DINOV3_ARCHS, entries, dict(swiglu=FLAG))
        require_hidden(cfg['embed_dims'], mlp_ratio)
        require_quarters(cfg['embed_dims'], cfg['num_heads'])
        self.window_size = window_size
        block = partial(
            DINOv3Block,
            cfg['embed_dims'],
            cfg['num_heads'],
            mlp_ratio=mlp_ratio,
            swiglu_mlp=cfg['swiglu'],
            swiglu_align_to=SWIGLU_MULTIPLE,
            qkv_bias=qkv_bias,
            init_values=init_values,
            num_prefix_tokens=1 + num_register_tokens,
            norm_layer=partial(nn.LayerNorm, eps=NORM_EPS),
            context_broadcasting=context_broadcasting,
        )
        super().__init__(
            cfg,
            block,
            key_cfg,
            patch_size,
            out_indices,
            num_register_tokens,
            window_size,
            global_blocks,
            drop_path_rate,
            final_norm,
            NORM_EPS,
            with_cp,
            frozen_stages,
            norm_eval,
            init_cfg,
        )

    def add_positions(self, arch: dict) -> None:
        self.rope = RotaryPositions(arch['embed_dims'] // arch['num_heads'])

    def embed(self, x: Tensor, plan: Plan | None) -> tuple[Tensor, tuple[int, int]]:
        """Images (B, 3, H, W) to tokens (B, P + h w, C) and the grid (h, w)."""
        x = embed_patches(self.patch_embed, x, plan)
        return self.with_prefix(self.cls_token, x.flatten(1, 2)), (x.shape[1], x.shape[2])

    def block_args(self, x: Tensor, grid: tuple[int, int]) -> tuple:
        whole = windows = None
        if not all(block.window_size for block in self.blocks):
            whole = self.rope(grid, grid).flatten(0, 1)
        if any(block.window_size for block in self.blocks):
            size = tuple(side + missing(side, self.window_size) for side in grid)
            windows = partition_windows(self.rope(grid, size)[None], self.window_size)
            windows = windows[:, None].expand(x.shape[0], -1, -1, -1, -1).flatten(0, 1)
        return *super().block_args(x, grid), Rotations(whole, windows)


def require_quarters(embed_dims: int, num_heads: int) -> None:
    """Check that the channels of a head are a row's and a column's sines and cosines.

    Raises:
        ValueError: If they are not.
    """
    if embed_dims % num_heads == 0 and embed_dims // num_heads % 4:
        raise ValueError(
            f'num_heads={num_heads} leaves {embed_dims // num_heads} of {embed_dims} channels for '
            'a head; rotary positions need a multiple of 4, e.g. 64'
        )
