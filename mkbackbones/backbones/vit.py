"""ManifoldViT: Vision Transformer with a manifold key, as an OpenMMLab backbone."""

from collections.abc import Sequence
from functools import partial

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from ..arguments import check_arguments, integer, number, optional
from ..checkpoints.families import VIT
from ..compat.modes import is_compiling
from ..fused.decision import Plan
from ..keys.build import KeyCfg
from ..registry import MODELS
from .base import ARCH_HINT, require_hidden, resolve_arch
from .plain_vit import PLAIN_ARCH, PLAIN_RULES, PlainViT
from .positions import resample_positions
from .stem import embed_patches
from .vit_block import ViTBlock

#: Architectures of the ViT (arXiv 2010.11929, table 1) and DeiT (arXiv 2012.12877) papers.
VIT_ARCHS = {
    'tiny': dict(embed_dims=192, depth=12, num_heads=3),
    'small': dict(embed_dims=384, depth=12, num_heads=6),
    'base': dict(embed_dims=768, depth=12, num_heads=12),
    'large': dict(embed_dims=1024, depth=24, num_heads=16),
}

#: Most patches a side that a position embedding is made for.
MAX_GRID = 512
#: What the arguments may be; ANY is checked where its range is known.
VIT_RULES = dict(
    PLAIN_RULES,
    pretrain_img_size=integer(1, 8192),
    init_values=optional(number(-1e6, 1e6)),
)
#: What norms add to the variance.
NORM_EPS = 1e-6


@MODELS.register_module()
class ManifoldViT(PlainViT):
    """Vision Transformer whose attention keys may be manifold keys.

    Args:
        arch (str | dict): ``tiny``, ``small``, ``base``, ``large``, or a dict with ``embed_dims``,
            ``depth`` and ``num_heads``.
        key_cfg (dict | list[dict] | None): The key of every block, or with ``blocks=[...]`` of
            some; None is the stock key. See :mod:`mkbackbones.keys`.
        patch_size (int): Patch side, in pixels.
        pretrain_img_size (int): Image side, in pixels, that the position embedding is made for;
            it is resampled to each input's patch grid.
        out_indices (int | Sequence[int]): Blocks to return.
        num_register_tokens (int): Register tokens (arXiv 2309.16588). With them, the position
            embedding covers the patches only, as in timm.
        window_size (int): Window side, in tokens, of windowed attention; 0: global everywhere.
        global_blocks (Sequence[int], optional): Blocks that stay global with ``window_size``.
            Defaults to the last block of each quarter, as in ViTDet.
        mlp_ratio (float): Hidden width of the MLP over the channels.
        qkv_bias (bool): Whether query, key and value have a bias.
        init_values (float, optional): Initial layer scale; None for none.
        drop_path_rate (float): Stochastic depth rate of the last block.
        final_norm (bool): Normalise the last block's output.
        frozen_stages (int): -1 freezes nothing, 0 the embeddings, n also the first n blocks.
        with_cp (bool): Recompute each block in the backward pass to save memory.
        norm_eval (bool): Keep normalisation layers in evaluation mode while training.
        init_cfg (dict, optional): Initialisation, e.g. ``dict(type='Pretrained', checkpoint=...)``.
        context_broadcasting (bool): Mix the mean of tokens into what each MLP gives, see
            :mod:`mkbackbones.backbones.context`.

    Raises:
        ValueError: If an argument is out of range.
    """

    family = VIT
    archs = VIT_ARCHS

    def __init__(
        self,
        arch: str | dict = 'base',
        key_cfg: KeyCfg = None,
        patch_size: int = 16,
        pretrain_img_size: int = 224,
        out_indices: int | Sequence[int] = -1,
        num_register_tokens: int = 0,
        window_size: int = 0,
        global_blocks: Sequence[int] | None = None,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        init_values: float | None = None,
        drop_path_rate: float = 0.1,
        final_norm: bool = True,
        frozen_stages: int = -1,
        with_cp: bool = False,
        norm_eval: bool = False,
        init_cfg: dict | None = None,
        context_broadcasting: bool = False,
        **unknown: object,
    ) -> None:
        check_arguments('ManifoldViT', VIT_RULES, locals(), unknown, ARCH_HINT)
        cfg = resolve_arch('ManifoldViT', arch, VIT_ARCHS, PLAIN_ARCH)
        require_hidden(cfg['embed_dims'], mlp_ratio)
        require_grid(pretrain_img_size, patch_size)
        side = pretrain_img_size // patch_size
        self.pretrain_grid = (side, side)
        #: Prefix tokens that the position embedding covers: timm's rule for register models.
        self.num_embedded_prefix = 0 if num_register_tokens else 1
        block = partial(
            ViTBlock,
            cfg['embed_dims'],
            cfg['num_heads'],
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            init_values=init_values,
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
        num_positions = self.num_embedded_prefix + self.pretrain_grid[0] * self.pretrain_grid[1]
        pos_embed = torch.empty(1, num_positions, arch['embed_dims'])
        self.pos_embed = nn.Parameter(trunc_normal_(pos_embed, std=0.02))

    def embeddings(self) -> list[nn.Parameter | None]:
        return [*super().embeddings(), self.pos_embed]

    def embed(self, x: Tensor, plan: Plan | None) -> tuple[Tensor, tuple[int, int]]:
        """Images (B, 3, H, W) to tokens (B, P + h w, C) with positions, and the grid (h, w)."""
        x = embed_patches(self.patch_embed, x, plan)
        grid = x.shape[1], x.shape[2]
        pos_embed: Tensor = self.pos_embed
        # A compiled graph is for every size, the one of pretraining included.
        if is_compiling() or grid != self.pretrain_grid:
            pos_embed = resample_positions(
                pos_embed, grid, self.pretrain_grid, self.num_embedded_prefix
            )
        num = self.num_embedded_prefix
        cls_token = self.cls_token + pos_embed[:, :num] if num else self.cls_token
        return self.with_prefix(cls_token, x.flatten(1, 2) + pos_embed[:, num:]), grid


def require_grid(pretrain_img_size: int, patch_size: int) -> None:
    """Check that the position embedding has a place, and not too many.

    Raises:
        ValueError: If it has not.
    """
    if not 1 <= pretrain_img_size // patch_size <= MAX_GRID:
        raise ValueError(
            f'pretrain_img_size={pretrain_img_size} holds {pretrain_img_size // patch_size} '
            f'patches of {patch_size} a side; it must be 1 to {MAX_GRID}'
        )
