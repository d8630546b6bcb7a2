"""ManifoldSwin: Swin Transformer with a manifold key, as an OpenMMLab backbone."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, ClassVar

from timm.layers import PatchEmbed
from timm.models.swin_transformer import PatchMerging
from torch import Tensor, nn

from ..arguments import ANY, check_arguments, integer
from ..attention.inject import set_block_keys
from ..checkpoints.families import SWIN
from ..fused.decision import Plan, serves
from ..fused.exact import LINEAR, NORM, Known, known
from ..keys.build import KeyCfg, keys_per_block
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
from .stem import embed_patches
from .swin_block import SwinBlock
from .windows import missing, shifted_window_mask, stack_patches

#: Architectures of the Swin paper (arXiv 2103.14030, section 3.3).
SWIN_ARCHS = {
    'tiny': dict(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
    'small': dict(embed_dims=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
    'base': dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    'large': dict(embed_dims=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
}
#: Entries of an explicit arch.
SWIN_ARCH = ('embed_dims', 'depths', 'num_heads')
#: What the arguments may be; ANY is checked where its range is known.
SWIN_RULES = dict(
    arch=ANY, key_cfg=ANY, window_size=integer(1, 64), frozen_stages=ANY, **COMMON_RULES
)


class Merging(PatchMerging):
    """timm's merging of 2x2 patches, with norm and projection in half precision where it can."""

    norm: nn.LayerNorm

    def forward(self, x: Tensor, plan: Plan | None = None) -> Tensor:
        """Merge patches: (B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), 2 C)."""
        x = stack_patches(x)
        if not serves(plan, self):
            return self.reduction(self.norm(x))
        from ..kernels.linears import half_linear
        from ..kernels.norm import layer_norm

        return half_linear(self.reduction, layer_norm(x, self.norm, plan.dtype))


known[Merging] = Known(dict(norm=NORM, reduction=LINEAR), called=True)


class SwinStage(nn.Module):
    """One stage: its blocks, then the merging into the next stage, as in the official code.

    Args:
        embed_dims (int): Channels C.
        depth (int): Blocks.
        num_heads (int): Attention heads.
        window_size (int): Window side, in tokens.
        mlp_ratio (float): Hidden width of the MLP over C.
        qkv_bias (bool): Whether query, key and value have a bias.
        drop_path (Sequence[float]): Stochastic depth rate of each block.
        downsample (bool): Whether a next stage follows.
        block_args: Further arguments of the blocks.
    """

    block: ClassVar[type[SwinBlock]] = SwinBlock
    merging: type[nn.Module] = Merging

    def __init__(
        self,
        embed_dims: int,
        depth: int,
        num_heads: int,
        window_size: int,
        mlp_ratio: float,
        qkv_bias: bool,
        drop_path: Sequence[float],
        downsample: bool,
        **block_args: Any,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift = window_size // 2
        self.blocks = nn.ModuleList(
            self.block(
                embed_dims,
                num_heads,
                window_size,
                shift=self.shift if i % 2 else 0,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                drop_path=drop_path[i],
                **block_args,
            )
            for i in range(depth)
        )
        self.downsample = self.merging(embed_dims) if downsample else None

    def forward(self, x: Tensor, with_cp: bool = False, plan: Plan | None = None) -> Tensor:
        """Run the blocks: (B, H, W, C) -> (B, H, W, C)."""
        served = [serves(plan, block) for block in self.blocks]
        mask = None
        if self.shift and not all(served[1::2]):  # the kernels need no mask
            height, width = (side + missing(side, self.window_size) for side in x.shape[1:3])
            mask = shifted_window_mask((height, width), self.window_size, self.shift, x.device)
        for tokens in run_blocks(self.blocks, x, (mask,), plan, served, with_cp):
            x = tokens
        return x


@MODELS.register_module()
class ManifoldSwin(Backbone):
    """Swin Transformer whose attention keys may be manifold keys.

    The official semantics hold at every size: pad, then roll; always partition. Outputs are
    normalised by one LayerNorm per output stage, as in mmdet and mmseg.

    Args:
        arch (str | dict): ``tiny``, ``small``, ``base``, ``large``, or a dict with ``embed_dims``,
            ``depths`` and ``num_heads``.
        key_cfg (dict | list[dict] | None): The key of every block, or with ``stages=[...]`` or
            ``blocks=[...]`` of some; None is the stock key. See :mod:`mkbackbones.keys`.
        out_indices (Sequence[int]): Stages to return.
        window_size (int): Window side, in tokens.
        mlp_ratio (float): Hidden width of the MLP over the channels.
        qkv_bias (bool): Whether query, key and value have a bias.
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

    family = SWIN
    archs = SWIN_ARCHS
    stage: ClassVar[type[SwinStage]] = SwinStage
    #: Further arguments of each stage; by default none.
    stage_args: Sequence[dict] = ()

    def __init__(
        self,
        arch: str | dict = 'tiny',
        key_cfg: KeyCfg = None,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        window_size: int = 7,
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
        name = type(self).__name__
        check_arguments(name, SWIN_RULES, locals(), unknown, ARCH_HINT)
        cfg = resolve_arch(name, arch, self.archs, SWIN_ARCH)
        depths, num_heads = cfg['depths'], cfg['num_heads']
        if len(depths) != len(num_heads):
            raise ValueError(f'arch has {len(depths)} depths but {len(num_heads)} num_heads')
        dims = self.stage_dims(cfg)
        for stage, (channels, heads) in enumerate(zip(dims, num_heads)):
            require_heads(channels, heads, f'stage {stage}')
        self.out_indices = require_out_indices(out_indices, len(depths))
        require_hidden(dims[0], mlp_ratio)
        key_cfgs = keys_per_block(key_cfg, depths)
        super().__init__(require_frozen_stages(frozen_stages, len(depths)), norm_eval, init_cfg)

        self.with_cp = with_cp
        self.depths = tuple(depths)
        self.window_size = window_size
        self.patch_embed = PatchEmbed(
            None,
            patch_size=4,
            embed_dim=dims[0],
            norm_layer=nn.LayerNorm,
            flatten=False,
            output_fmt='NHWC',
            dynamic_img_pad=True,
        )
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        # Stages behind the last output would get no gradients, which DDP rejects: leave them out.
        num_stages = self.out_indices[-1] + 1
        self.layers = nn.ModuleList(
            self.stage(
                dims[i],
                depths[i],
                num_heads[i],
                window_size,
                mlp_ratio,
                qkv_bias,
                drop_path=[next(rates) for _ in range(depths[i])],
                downsample=i + 1 < num_stages,
                context_broadcasting=context_broadcasting,
                **(self.stage_args[i] if self.stage_args else {}),
            )
            for i in range(num_stages)
        )
        for i in self.out_indices:
            self.add_module(f'norm{i}', nn.LayerNorm(dims[i]))
        self.out_channels = [dims[i] for i in self.out_indices]
        self.apply(init_linear)
        stages: list[Any] = list(self.layers)
        attentions = [block.attn for stage in stages for block in stage.blocks]
        set_block_keys(attentions, key_cfgs[: len(attentions)])
        self.freeze()

    def frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        frozen = [self.patch_embed, *self.layers[: self.frozen_stages]]
        return frozen + [
            getattr(self, f'norm{i}') for i in self.out_indices if i < self.frozen_stages
        ]

    def get_layer_depth(self, param_name: str, prefix: str = 'backbone.') -> tuple[int, int]:
        """Where a parameter lies, for layer-wise learning rates.

        Args:
            param_name (str): Name of the parameter, in the model.
            prefix (str): What the names of the backbone's parameters start with.

        Returns:
            tuple[int, int]: Layer and number of layers: 0 for the patch embedding, 1 to L for the
            blocks, with their stage's norm and merging at its last block, L + 1 outside.
        """
        stages: list[Any] = list(self.layers)
        ends = list(accumulate(len(stage.blocks) for stage in stages))
        num_layers = ends[-1] + 2
        if not param_name.startswith(prefix):
            return num_layers - 1, num_layers
        parts = param_name[len(prefix) :].split('.')
        if parts[0].startswith('norm'):
            return ends[int(parts[0].removeprefix('norm'))], num_layers
        if parts[0] != 'layers':
            return 0, num_layers
        number = int(parts[1])
        if parts[2] != 'blocks':
            return ends[number], num_layers
        return ends[number] - len(stages[number].blocks) + int(parts[3]) + 1, num_layers

    def extract(self, x: Tensor, plan: Plan | None) -> tuple[Tensor, ...]:
        x = embed_patches(self.patch_embed, x, plan)  # B, H/4, W/4, C
        outs = []
        layers: list[Any] = list(self.layers)
        for i, layer in enumerate(layers):
            # What was put in the place of a stage or a merging need not know of plans.
            x = layer(x, self.with_cp, *([plan] if isinstance(layer, SwinStage) else []))
            if i in self.out_indices:
                out = normalise(getattr(self, f'norm{i}'), x, plan)
                outs.append(out.permute(0, 3, 1, 2).contiguous())
            if layer.downsample is not None:
                x = layer.downsample(x, *([plan] if serves(plan, layer.downsample) else []))
        return tuple(outs)
