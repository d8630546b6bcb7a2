"""ManifoldViT: Vision Transformer with a manifold key, as an OpenMMLab backbone."""

from collections.abc import Sequence
from functools import partial

import torch
from timm.layers import PatchEmbed, trunc_normal_
from torch import Tensor, nn

from ..arguments import (
    ANY,
    EMPTY,
    FLAG,
    INDICES,
    check_arguments,
    either,
    integer,
    number,
    optional,
)
from ..attention.inject import set_block_keys
from ..checkpoints.families import VIT
from ..fused.decision import Plan, serves
from ..keys.build import KeyCfg, keys_per_block, resolve_indices
from ..registry import MODELS
from .base import (
    ARCH_HINT,
    COMMON_RULES,
    Backbone,
    drop_path_rates,
    init_linear,
    require_frozen_stages,
    require_heads,
    require_hidden,
    require_out_indices,
    resolve_arch,
)
from .branches import run_blocks
from .norms import normalise
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
    arch=ANY,
    key_cfg=ANY,
    patch_size=integer(1, 256),
    pretrain_img_size=integer(1, 8192),
    num_register_tokens=integer(0, 1024),
    window_size=integer(0, 1024),
    global_blocks=optional(either(INDICES, EMPTY)),
    init_values=optional(number(-1e6, 1e6)),
    final_norm=FLAG,
    frozen_stages=ANY,
    **COMMON_RULES,
)


@MODELS.register_module()
class ManifoldViT(Backbone):
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
        **unknown: object,
    ) -> None:
        check_arguments('ManifoldViT', VIT_RULES, locals(), unknown, ARCH_HINT)
        cfg = resolve_arch('ManifoldViT', arch, VIT_ARCHS, ('embed_dims', 'depth', 'num_heads'))
        dims, depth, num_heads = cfg['embed_dims'], cfg['depth'], cfg['num_heads']
        require_heads(dims, num_heads, 'ManifoldViT')
        require_hidden(dims, mlp_ratio)
        require_grid(pretrain_img_size, patch_size)
        self.out_indices = require_out_indices(out_indices, depth)
        windows = block_windows(window_size, global_blocks, depth)
        key_cfgs = keys_per_block(key_cfg, (depth,))
        super().__init__(require_frozen_stages(frozen_stages, depth), norm_eval, init_cfg)

        self.with_cp = with_cp
        self.depth = depth
        self.patch_size = patch_size
        self.patch_embed = PatchEmbed(
            None, patch_size, embed_dim=dims, flatten=False, output_fmt='NHWC', dynamic_img_pad=True
        )
        self.num_prefix_tokens = 1 + num_register_tokens
        self.cls_token = nn.Parameter(trunc_normal_(torch.empty(1, 1, dims), std=0.02))
        self.reg_token = None
        if num_register_tokens:
            reg_token = torch.empty(1, num_register_tokens, dims)
            self.reg_token = nn.Parameter(trunc_normal_(reg_token, std=0.02))
        #: Prefix tokens that the position embedding covers: timm's rule for register models.
        self.num_embedded_prefix = 0 if num_register_tokens else 1
        side = pretrain_img_size // patch_size
        self.pretrain_grid = (side, side)
        pos_embed = torch.empty(1, self.num_embedded_prefix + side * side, dims)
        self.pos_embed = nn.Parameter(trunc_normal_(pos_embed, std=0.02))
        rates = drop_path_rates(drop_path_rate, depth)
        # Blocks behind the last output would get no gradients, which DDP rejects: leave them out.
        depth_used = self.out_indices[-1] + 1
        self.blocks = nn.ModuleList(
            ViTBlock(
                dims,
                num_heads,
                windows[i],
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                init_values=init_values,
                drop_path=rates[i],
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
            )
            for i in range(depth_used)
        )
        has_norm = final_norm and depth_used == depth
        self.norm = nn.LayerNorm(dims, eps=1e-6) if has_norm else None
        self.out_channels = [dims] * len(self.out_indices)
        self.apply(init_linear)
        set_block_keys([block.attn for block in self.blocks], key_cfgs[:depth_used])
        self.freeze()

    def frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        frozen = [self.patch_embed, *self.blocks[: self.frozen_stages]]
        if self.norm is not None and self.frozen_stages >= len(self.blocks):
            frozen.append(self.norm)
        return frozen

    def frozen_parameters(self) -> list[nn.Parameter]:
        if self.frozen_stages < 0:
            return []
        embeddings = [self.cls_token, self.reg_token, self.pos_embed]
        return [embedding for embedding in embeddings if embedding is not None]

    def embed(self, x: Tensor, plan: Plan | None) -> tuple[Tensor, tuple[int, int]]:
        """Images (B, 3, H, W) to tokens (B, P + h w, C) with positions, and the grid (h, w)."""
        x = embed_patches(self.patch_embed, x, plan)
        grid = x.shape[1], x.shape[2]
        pos_embed: Tensor = self.pos_embed
        # A compiled graph is for every size, the one of pretraining included.
        if torch.compiler.is_compiling() or grid != self.pretrain_grid:
            pos_embed = resample_positions(
                pos_embed, grid, self.pretrain_grid, self.num_embedded_prefix
            )
        num = self.num_embedded_prefix
        x = x.flatten(1, 2) + pos_embed[:, num:]
        prefix = [self.cls_token + pos_embed[:, :num] if num else self.cls_token]
        if self.reg_token is not None:
            prefix.append(self.reg_token)
        prefix = [token.expand(x.shape[0], -1, -1).to(x.dtype) for token in prefix]
        return torch.cat([*prefix, x], dim=1), grid

    def get_layer_depth(self, param_name: str, prefix: str = 'backbone.') -> tuple[int, int]:
        """Where a parameter lies, for layer-wise learning rates.

        Args:
            param_name (str): Name of the parameter, in the model.
            prefix (str): What the names of the backbone's parameters start with.

        Returns:
            tuple[int, int]: Layer and number of layers: 0 for embeddings and tokens, 1 to L for the
            blocks, with the final norm at the last one, L + 1 outside.
        """
        num_layers = len(self.blocks) + 2
        if not param_name.startswith(prefix):
            return num_layers - 1, num_layers
        parts = param_name[len(prefix) :].split('.')
        if parts[0] == 'blocks':
            return int(parts[1]) + 1, num_layers
        return (len(self.blocks) if parts[0] == 'norm' else 0), num_layers

    def extract(self, x: Tensor, plan: Plan | None) -> tuple[Tensor, ...]:
        x, grid = self.embed(x, plan)
        outs = []
        args = grid, self.num_prefix_tokens
        served = [serves(plan, block) for block in self.blocks]
        run = run_blocks(self.blocks, x, args, plan, served, self.with_cp)
        for i, out in enumerate(run):
            if i in self.out_indices:
                if i == len(self.blocks) - 1 and self.norm is not None:
                    out = normalise(self.norm, out, plan)
                out = out[:, self.num_prefix_tokens :].transpose(1, 2)
                outs.append(out.unflatten(2, grid).contiguous())
        return tuple(outs)


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


def block_windows(window_size: int, global_blocks: Sequence[int] | None, depth: int) -> list[int]:
    """Window side of each block, 0 for global attention.

    Raises:
        ValueError: If a global block does not exist, or global blocks are given without a window.
    """
    if not window_size:
        if global_blocks is not None:
            raise ValueError(
                f'global_blocks={global_blocks} needs a window_size; without one every '
                'block is global'
            )
        return [0] * depth
    if global_blocks is None:
        quarters = (round(depth * quarter / 4) - 1 for quarter in range(1, 5))
        global_blocks = sorted({max(block, 0) for block in quarters})
    elif global_blocks != [] and global_blocks != ():
        global_blocks = resolve_indices('global_blocks', global_blocks, depth)
    return [0 if i in global_blocks else window_size for i in range(depth)]
