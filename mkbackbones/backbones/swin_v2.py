"""ManifoldSwinV2: Swin Transformer V2 with a manifold key, as an OpenMMLab backbone."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from timm.models.swin_transformer_v2 import PatchMerging
from timm.models.swin_transformer_v2 import WindowAttention as TimmAttention
from torch import Tensor, nn

from ..arguments import check_arguments, integer, listing, optional
from ..attention.qkv import head_views, set_grid
from ..checkpoints.families import SWIN_V2
from ..keys.build import KeyCfg
from ..registry import MODELS
from .base import ARCH_HINT, resolve_arch
from .swin import SWIN_ARCH, SWIN_ARCHS, SWIN_RULES, ManifoldSwin, SwinStage
from .swin_block import SwinBlock, attend_in_windows
from .windows import stack_patches

#: What the logits of cosine attention are multiplied by at most (arXiv 2111.09883, section 3.3).
MAX_LOGIT_SCALE = 100.0
#: Shorter vectors are not normalised.
SHORTEST = 1e-6
SWIN_V2_RULES = dict(SWIN_RULES, pretrained_window_sizes=optional(listing(integer(0, 64))))


class CosineWindowAttention(TimmAttention):
    """timm's cosine attention with a continuous position bias, through ``qkv`` and SDPA.

    Queries and keys are normalised, whatever made the keys; the bias of a projection is a parameter
    of its own for query and value, and there is none for the key.

    Args:
        embed_dims (int): Channels C.
        num_heads (int): Attention heads h.
        window_size (int): Window side, in tokens.
        qkv_bias (bool): Whether query and value have a bias.
        pretrained_window_size (int): Window side that the position bias was trained for; 0 for
            ``window_size``.
    """

    #: timm's buffers.
    relative_coords_table: Tensor
    relative_position_index: Tensor

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        window_size: int,
        qkv_bias: bool = True,
        pretrained_window_size: int = 0,
    ) -> None:
        super().__init__(
            embed_dims,
            (window_size, window_size),
            num_heads,
            qkv_bias,
            pretrained_window_size=(pretrained_window_size, pretrained_window_size),
        )
        # timm's forward calls qkv, whatever it is, instead of reading its weight. Set here, since
        # older releases take no such argument.
        self.qkv_bias_separate = True

    def position_bias(self) -> Tensor:
        """Position bias (h, N, N) of the N tokens of a window, between 0 and 16."""
        table = 16 * torch.sigmoid(self.cpb_mlp(self.relative_coords_table)).flatten(0, 2)
        # index_select, not indexing: its gradient needs no sorting.
        index = self.relative_position_index
        return table.index_select(0, index.flatten()).unflatten(0, index.shape).permute(2, 0, 1)

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within each window.

        Args:
            windows (Tensor): Windows (B nW, N, C).
            mask (Tensor, optional): Additive mask (nW, N, N) of shifted windows.

        Returns:
            Tensor: Windows (B nW, N, C).
        """
        set_grid(self.qkv, self.window_size)
        qkv = self.qkv(windows)
        if self.q_bias is not None:
            bias = self.q_bias, self.k_bias, self.v_bias
            qkv = qkv + torch.cat(bias).to(qkv.dtype)  # type: ignore[arg-type]  # k_bias is a buffer
        q, k, v = head_views(qkv, self.num_heads)  # B nW, h, N, C/h
        scale = self.logit_scale.clamp(max=math.log(MAX_LOGIT_SCALE)).exp()
        # The scale of the logits goes into the queries, for SDPA to have nothing left to scale.
        q, k = (directions(q) * scale).to(v.dtype), directions(k).to(v.dtype)
        x = attend_in_windows(q, k, v, self.position_bias(), mask, scale=1.0)
        return self.proj(x.transpose(1, 2).flatten(2))


def directions(x: Tensor) -> Tensor:
    """Vectors (..., d) of length 1, and zeros as they are.

    Padding has no direction: zero tokens have zero keys, whose gradient ``F.normalize`` multiplies
    by 1e12. Worked out in float32 at least.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / torch.where(length > SHORTEST, length, 1.0)


class SwinV2Block(SwinBlock):
    """Swin V2 block: window attention and MLP, each normalised last and added.

    The norms' weights start at zero, as in the official code: a new block is the identity.
    """

    attention = CosineWindowAttention

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        nn.init.zeros_(self.norm1.weight)
        nn.init.zeros_(self.norm2.weight)

    def forward(  # type: ignore[override]  # there are no Triton kernels for it
        self, x: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Run the block: tokens (B, H, W, C), with the mask (nW, N, N) of a shifted grid."""
        x = x + self.drop_path1(self.norm1(self.attend(x, mask)))
        return x + self.drop_path2(self.norm2(self.perceive(x)))


class MergingV2(PatchMerging):
    """timm's merging of 2x2 patches, for grids of any size with any release of it."""

    def forward(self, x: Tensor) -> Tensor:
        """Merge patches: (B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), 2 C)."""
        return self.norm(self.reduction(stack_patches(x)))


class SwinV2Stage(SwinStage):
    """One stage of V2 blocks, then the merging, which normalises last, too."""

    block = SwinV2Block
    merging = MergingV2


@MODELS.register_module()
class ManifoldSwinV2(ManifoldSwin):
    """Swin Transformer V2 whose attention keys may be manifold keys.

    Keys are normalised before they meet the queries, so that only the direction of a key counts:
    what scales it as a whole, such as LinearK's temperature, changes nothing.

    Position biases are a function of the distance over the window, and weights are the same for
    every window size. Weights that were trained with other windows than ``window_size`` need to be
    told: timm's and the official ``window12to16`` have ``(12, 12, 12, 6)``.

    Args:
        arch (str | dict): ``tiny``, ``small``, ``base``, ``large``, or a dict with ``embed_dims``,
            ``depths`` and ``num_heads``.
        key_cfg (dict | list[dict] | None): The key of every block, or with ``stages=[...]`` or
            ``blocks=[...]`` of some; None is the stock key. See :mod:`mkbackbones.keys`.
        out_indices (Sequence[int]): Stages to return.
        window_size (int): Window side, in tokens.
        pretrained_window_sizes (Sequence[int], optional): Window side of each stage that the
            position bias was trained for, 0 for ``window_size``. Defaults to ``window_size``.
        mlp_ratio (float): Hidden width of the MLP over the channels.
        qkv_bias (bool): Whether query and value have a bias; the key has none.
        drop_path_rate (float): Stochastic depth rate of the last block.
        frozen_stages (int): -1 freezes nothing, 0 the patch embedding, n also the first n stages.
        with_cp (bool): Recompute each block in the backward pass to save memory.
        norm_eval (bool): Keep normalisation layers in evaluation mode while training.
        init_cfg (dict, optional): Initialisation, e.g. ``dict(type='Pretrained', checkpoint=...)``.
        context_broadcasting (bool): Mix the mean of tokens into what each MLP gives, see
            :mod:`mkbackbones.backbones.context`.

    Raises:
        ValueError: If an argument is out of range.
    """

    family = SWIN_V2
    archs = SWIN_ARCHS  # of the same sizes as V1's
    stage = SwinV2Stage

    def __init__(
        self,
        arch: str | dict = 'tiny',
        key_cfg: KeyCfg = None,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        window_size: int = 8,
        pretrained_window_sizes: Sequence[int] | None = None,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.1,
        frozen_stages: int = -1,
        with_cp: bool = False,
        norm_eval: bool = False,
        init_cfg: dict | None = None,
        context_broadcasting: bool = False,
        **unknown: object,
    ) -> None:
        check_arguments('ManifoldSwinV2', SWIN_V2_RULES, locals(), unknown, ARCH_HINT)
        sizes = pretrained_window_sizes
        if sizes is not None:
            num_stages = len(resolve_arch('ManifoldSwinV2', arch, self.archs, SWIN_ARCH)['depths'])
            if len(sizes) != num_stages:
                raise ValueError(
                    f'pretrained_window_sizes={sizes} has {len(sizes)} entries; arch has '
                    f'{num_stages} stages, each of which takes one'
                )
            self.stage_args = [dict(pretrained_window_size=size) for size in sizes]
        super().__init__(
            arch,
            key_cfg,
            out_indices,
            window_size,
            mlp_ratio,
            qkv_bias,
            drop_path_rate,
            frozen_stages,
            with_cp,
            norm_eval,
            init_cfg,
            context_broadcasting,
        )
