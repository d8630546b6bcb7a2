"""What plain Vision Transformers share: tokens of one width through blocks, out as maps."""

from collections.abc import Callable, Sequence

import torch
from timm.layers import PatchEmbed, trunc_normal_
from torch import Tensor, nn

from ..arguments import ANY, EMPTY, FLAG, INDICES, either, integer, optional
from ..attention.inject import set_block_keys
from ..fused.decision import Plan, serves
from ..keys.build import KeyCfg, keys_per_block, resolve_indices
from .base import (
    COMMON_RULES,
    Backbone,
    drop_path_rates,
    init_linear,
    require_frozen_stages,
    require_heads,
    require_out_indices,
)
from .branches import run_blocks
from .norms import normalise

#: Entries of an explicit arch.
PLAIN_ARCH = ('embed_dims', 'depth', 'num_heads')
#: What the arguments may be; ANY is checked where its range is known.
PLAIN_RULES = dict(
    arch=ANY,
    key_cfg=ANY,
    patch_size=integer(1, 256),
    num_register_tokens=integer(0, 1024),
    window_size=integer(0, 1024),
    global_blocks=optional(either(INDICES, EMPTY)),
    final_norm=FLAG,
    frozen_stages=ANY,
    **COMMON_RULES,
)


class PlainViT(Backbone):
    """Base of the ViTs: a class token, register tokens and patches through blocks of one width.

    A subclass checks its arguments, embeds images (:meth:`embed`), and builds its blocks, which
    have an ``attn`` with a ``qkv`` and take tokens and what :meth:`block_args` gives.

    Args:
        arch (dict): ``embed_dims``, ``depth`` and ``num_heads``.
        block (Callable[..., nn.Module]): Builds a block from ``window_size`` and ``drop_path``.
        key_cfg (dict | list[dict] | None): The key of every block, or with ``blocks=[...]`` of
            some; None is the stock key.
        patch_size (int): Patch side, in pixels.
        out_indices (int | Sequence[int]): Blocks to return.
        num_register_tokens (int): Register tokens (arXiv 2309.16588).
        window_size (int): Window side, in tokens, of windowed attention; 0: global everywhere.
        global_blocks (Sequence[int], optional): Blocks that stay global with ``window_size``.
        drop_path_rate (float): Stochastic depth rate of the last block.
        final_norm (bool): Normalise the last block's output.
        norm_eps (float): What that norm adds to the variance.
        with_cp (bool): Recompute each block in the backward pass to save memory.
        frozen_stages (int): As in :class:`Backbone`.
        norm_eval (bool): As in :class:`Backbone`.
        init_cfg (dict, optional): As in :class:`Backbone`.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        arch: dict,
        block: Callable[..., nn.Module],
        key_cfg: KeyCfg,
        patch_size: int,
        out_indices: int | Sequence[int],
        num_register_tokens: int,
        window_size: int,
        global_blocks: Sequence[int] | None,
        drop_path_rate: float,
        final_norm: bool,
        norm_eps: float,
        with_cp: bool,
        frozen_stages: int,
        norm_eval: bool,
        init_cfg: dict | None,
    ) -> None:
        dims, depth = arch['embed_dims'], arch['depth']
        require_heads(dims, arch['num_heads'], type(self).__name__)
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
        self.add_positions(arch)
        rates = drop_path_rates(drop_path_rate, depth)
        # Blocks behind the last output would get no gradients, which DDP rejects: leave them out.
        depth_used = self.out_indices[-1] + 1
        self.blocks = nn.ModuleList(
            block(window_size=windows[i], drop_path=rates[i]) for i in range(depth_used)
        )
        has_norm = final_norm and depth_used == depth
        self.norm = nn.LayerNorm(dims, eps=norm_eps) if has_norm else None
        self.out_channels = [dims] * len(self.out_indices)
        self.apply(init_linear)
        set_block_keys([block.attn for block in self.blocks], key_cfgs[:depth_used])
        self.freeze()

    def add_positions(self, arch: dict) -> None:
        """Build what tells where tokens lie, before the blocks are built."""

    def embed(self, x: Tensor, plan: Plan | None) -> tuple[Tensor, tuple[int, int]]:
        """Images (B, 3, H, W) to tokens (B, P + h w, C), the P prefix tokens first, and (h, w)."""
        raise NotImplementedError

    def block_args(self, x: Tensor, grid: tuple[int, int]) -> tuple:
        """What blocks take beside tokens: the grid (h, w), and the number of prefix tokens."""
        return grid, self.num_prefix_tokens

    def with_prefix(self, cls_token: Tensor, patches: Tensor) -> Tensor:
        """Class token (1, 1, C) and registers before patches (B, h w, C) -> (B, P + h w, C)."""
        prefix = [cls_token] if self.reg_token is None else [cls_token, self.reg_token]
        prefix = [token.expand(patches.shape[0], -1, -1).to(patches.dtype) for token in prefix]
        return torch.cat([*prefix, patches], dim=1)

    def frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        frozen = [self.patch_embed, *self.blocks[: self.frozen_stages]]
        if self.norm is not None and self.frozen_stages >= len(self.blocks):
            frozen.append(self.norm)
        return frozen

    def embeddings(self) -> list[nn.Parameter | None]:
        """The parameters that lie in no module and belong to the embedding."""
        return [self.cls_token, self.reg_token]

    def frozen_parameters(self) -> list[nn.Parameter]:
        if self.frozen_stages < 0:
            return []
        return [embedding for embedding in self.embeddings() if embedding is not None]

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
        args = self.block_args(x, grid)
        served = [serves(plan, block) for block in self.blocks]
        run = run_blocks(self.blocks, x, args, plan, served, self.with_cp)
        for i, out in enumerate(run):
            if i in self.out_indices:
                if i == len(self.blocks) - 1 and self.norm is not None:
                    out = normalise(self.norm, out, plan)
                out = out[:, self.num_prefix_tokens :].transpose(1, 2)
                outs.append(out.unflatten(2, grid).contiguous())
        return tuple(outs)


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
