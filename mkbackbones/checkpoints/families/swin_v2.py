"""Checkpoints of Swin Transformers V2."""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.models.swin_transformer import get_relative_position_index
from torch import Tensor

from ..namings import Pairs
from ..report import CheckpointError, Entry, Report
from .base import (
    TRANSFORMERS_ANCHOR,
    Weights,
    name_separate_biases,
    register_family,
    split_fused_biases,
)
from .swin import (
    MM_SWIN,
    OFFICIAL_SWIN,
    TIMM_SWIN,
    TRANSFORMERS_SWIN,
    SwinFamily,
    SwinNaming,
    count_blocks,
    square,
)

# mmpretrain merges V2's patches at the start of a stage, V1's at the end of the one before.
MM_SWIN_V2: Pairs = tuple(
    ('stages.{+1}.downsample', ours) if ours == 'layers.{}.downsample' else (theirs, ours)
    for theirs, ours in MM_SWIN
)
TRANSFORMERS_SWIN_V2: Pairs = (
    (
        'encoder.layers.{}.blocks.{}.attention.self.continuous_position_bias_mlp',
        'layers.{}.blocks.{}.attn.cpb_mlp',
    ),
    *TRANSFORMERS_SWIN,
)


class SwinV2Family(SwinFamily):
    """Swin Transformer V2 (arXiv 2111.09883): norms come last, positions from a small MLP."""

    name = 'swinv2'
    title = 'Swin V2'
    mark = (
        r'(layers\.\d+\.blocks\.\d+\.attn|stages\.\d+\.blocks\.\d+\.attn\.w_msa|'
        r'features\.\d+\.\d+\.attn|encoder\.layers\.\d+\.blocks\.\d+\.attention\.self)\.'
        r'(logit_scale$|cpb_mlp\.|continuous_position_bias_mlp\.)'
    )
    classes = ('SwinTransformerV2', 'ManifoldSwinV2')
    namings = {
        'timm': SwinNaming('timm', TIMM_SWIN),
        'official': SwinNaming('official', OFFICIAL_SWIN),
        'mmpretrain': SwinNaming('mmpretrain', MM_SWIN_V2, unfolded=True),
        'transformers': SwinNaming(
            'transformers', TRANSFORMERS_SWIN_V2, TRANSFORMERS_ANCHOR, is_written=False
        ),
        'torchvision': SwinFamily.namings['torchvision'],
    }
    signs = (
        ('mmpretrain', r'stages\.\d+\.blocks\.\d+\.'),
        *(sign for sign in SwinFamily.signs if sign[0] != 'mmdet'),
    )
    merging = r'.*\.downsample\.reduction\.'  # the norm comes after it
    peers = ('mmpretrain', 'timm')
    hints = (
        *SwinFamily.hints,
        (r'.*\.attn\.[qv]_bias', 'biases of query and value; set qkv_bias as in the checkpoint'),
        (r'.*\.relative_coords_table$', 'positions in other windows; see pretrained_window_sizes'),
        (r'.*\.norm3\.', 'extra norms of the huge and giant Swin V2 are not supported'),
    )

    def read(  # type: ignore[override]  # its namings are all of this class
        self, weights: Weights, naming: SwinNaming
    ) -> None:
        """As for V1; biases of query and value come from wherever the library has them."""
        state = weights.state
        name_separate_biases(state)
        if naming is self.namings['torchvision']:
            for name in [n for n in state if n.endswith('.attn.qkv.bias')]:
                attention = name.removesuffix('qkv.bias')
                q_bias, _, v_bias = state.pop(name).chunk(3)  # it takes the key's for zero
                state |= {f'{attention}q_bias': q_bias, f'{attention}v_bias': v_bias}
        super().read(weights, naming)

    def read_positions(self, weights: Weights) -> None:
        """Check that tokens are counted as ours are; the tables stay for :meth:`fit` to compare."""
        for name in [n for n in weights.state if n.endswith('.relative_position_index')]:
            index = square(weights.state.pop(name))
            side = math.isqrt(len(index))
            standard = get_relative_position_index(side, side)
            if standard.shape != index.shape or not torch.equal(standard, index.cpu().long()):
                raise CheckpointError(
                    f'{name} {tuple(index.shape)} is not that of a square window, row by row; the '
                    'checkpoint is damaged or of another architecture'
                )
            weights.entries.append(Entry('dropped', name, 'buffer'))

    def fit(self, state: dict[str, Tensor], model: Any, report: Report) -> None:
        """As for V1; position biases need no resampling, but windows of the size they know."""
        super().fit(state, model, report)
        for name in [n for n in state if n.endswith('.relative_coords_table')]:
            theirs = trained_window(state.pop(name))
            attention = model.get_submodule(name.rpartition('.')[0])
            ours = trained_window(attention.relative_coords_table)
            if theirs is None or ours is None or abs(theirs - ours) < 0.1:
                report.entries.append(Entry('dropped', name, 'buffer'))
                continue
            told = f'for windows of {theirs:g}, here {ours:g}; set pretrained_window_sizes'
            report.entries.append(Entry('unexpected', name, told))

    def write(
        self, state: dict[str, Tensor], library: str, entries: list[Entry]
    ) -> dict[str, Tensor]:
        """As for V1; biases of folded keys go where the library has a place."""
        for name in [n for n in state if n.endswith('.relative_coords_table')]:
            del state[name]
            entries.append(Entry('dropped', name, 'buffer'))
        split_fused_biases(state, library, self.title)
        return super().write(state, library, entries)

    def facts(self, backbone: Any) -> dict[str, Any]:
        """Windows, which weights do not tell."""
        sizes = tuple(stage.blocks[0].attn.pretrained_window_size[0] for stage in backbone.layers)
        return dict(window_size=backbone.window_size, pretrained_window_sizes=sizes)

    def stock_config(  # type: ignore[override]  # it takes what facts gives
        self,
        weights: Weights,
        library: str,
        window_size: int | None = None,
        pretrained_window_sizes: tuple = (),
    ) -> dict[str, Any] | None:
        """The config of mmpretrain's SwinTransformerV2.

        Args:
            weights (Weights): Weights in our layout.
            library (str): ``mmpretrain``.
            window_size (int, optional): Window side, which the weights do not tell.
            pretrained_window_sizes (tuple): Window side of each stage that the weights are for.
        """
        if window_size is None:
            return None
        state = weights.state
        depths = count_blocks(state)
        stages = range(len(depths))
        scales = [state[f'layers.{i}.blocks.0.attn.logit_scale'] for i in stages]
        arch = dict(
            embed_dims=state[self.embedding].shape[0],
            depths=tuple(depths),
            num_heads=tuple(len(scale) for scale in scales),
            extra_norm_every_n_blocks=0,
        )
        return dict(
            type='mmpretrain.SwinTransformerV2',
            arch=arch,
            window_size=window_size,
            pretrained_window_sizes=tuple(pretrained_window_sizes),
            out_indices=tuple(i for i in stages if f'norm{i}.weight' in state),
            pad_small_map=True,
        )

    def peer_config(self, library: str, name: str, arch: dict) -> dict[str, Any]:
        """mmpretrain's SwinTransformerV2 with all stages as outputs."""
        outputs = tuple(range(len(arch['depths'])))
        return dict(
            type='mmpretrain.SwinTransformerV2',
            arch=name,
            out_indices=outputs,
            pad_small_map=True,
        )

    def peer_timm(self, name: str, size: tuple[int, int]) -> dict[str, Any]:
        """timm's, with windows of 8, always partitioned."""
        model = 'swinv2_large_window12_192' if name == 'large' else f'swinv2_{name}_window8_256'
        return dict(model_name=model, img_size=size, window_size=8, always_partition=True)


def trained_window(table: Tensor) -> float | None:
    """Window side that position biases were trained for, from coordinates (1, 2 w - 1, 2 w - 1, 2).

    A table ends at ``log2(1 + 8 (w - 1) / (p - 1)) / 3``, p being that side. None for windows of a
    single token, which tell nothing, and for other shapes.
    """
    if table.dim() != 4 or table.shape[1] < 3:
        return None
    farthest = 2.0 ** (3 * float(table.max())) - 1
    return round(1 + 8 * (table.shape[1] // 2) / farthest, 1) if farthest > 0 else None


SWIN_V2 = register_family(SwinV2Family())
