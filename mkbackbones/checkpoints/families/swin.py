"""Checkpoints of Swin Transformers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..namings import Naming, Pairs
from ..report import CheckpointError, Entry, Report
from ..tensors import (
    merging_from_unfold,
    merging_to_unfold,
    resize_table,
    standard_table,
    window_index,
)
from .base import (
    TRANSFORMERS_ANCHOR,
    Family,
    Weights,
    drop,
    fuse_projections,
    mlp_width,
    register_family,
    replace,
)

OFFICIAL_SWIN: Pairs = (
    ('patch_embed.proj', 'patch_embed.proj'),
    ('patch_embed.norm', 'patch_embed.norm'),
    ('layers.{}.blocks.{}.norm1', 'layers.{}.blocks.{}.norm1'),
    ('layers.{}.blocks.{}.attn', 'layers.{}.blocks.{}.attn'),
    ('layers.{}.blocks.{}.norm2', 'layers.{}.blocks.{}.norm2'),
    ('layers.{}.blocks.{}.mlp', 'layers.{}.blocks.{}.mlp'),
    ('layers.{}.downsample', 'layers.{}.downsample'),
    ('norm{}', 'norm{}'),
    ('norm', 'norm'),  # the classifier's
)
# timm merges patches at the start of a stage, the official code at the end of the one before.
TIMM_SWIN: Pairs = tuple(
    ('layers.{+1}.downsample', ours) if ours == 'layers.{}.downsample' else (theirs, ours)
    for theirs, ours in OFFICIAL_SWIN
)
MM_SWIN: Pairs = (
    ('patch_embed.projection', 'patch_embed.proj'),
    ('patch_embed.norm', 'patch_embed.norm'),
    ('stages.{}.blocks.{}.norm1', 'layers.{}.blocks.{}.norm1'),
    ('stages.{}.blocks.{}.attn.w_msa', 'layers.{}.blocks.{}.attn'),
    ('stages.{}.blocks.{}.norm2', 'layers.{}.blocks.{}.norm2'),
    ('stages.{}.blocks.{}.ffn.layers.0.0', 'layers.{}.blocks.{}.mlp.fc1'),
    ('stages.{}.blocks.{}.ffn.layers.1', 'layers.{}.blocks.{}.mlp.fc2'),
    ('stages.{}.downsample', 'layers.{}.downsample'),
    ('norm{}', 'norm{}'),
    ('norm', 'norm'),  # the classifier's
)

TRANSFORMERS_SWIN: Pairs = (
    ('embeddings.patch_embeddings.projection', 'patch_embed.proj'),
    ('embeddings.norm', 'patch_embed.norm'),
    ('embeddings.position_embeddings', 'absolute_pos_embed'),
    ('encoder.layers.{}.blocks.{}.layernorm_before', 'layers.{}.blocks.{}.norm1'),
    # query, key and value, and positions
    ('encoder.layers.{}.blocks.{}.attention.self', 'layers.{}.blocks.{}.attn'),
    ('encoder.layers.{}.blocks.{}.attention.output.dense', 'layers.{}.blocks.{}.attn.proj'),
    ('encoder.layers.{}.blocks.{}.layernorm_after', 'layers.{}.blocks.{}.norm2'),
    ('encoder.layers.{}.blocks.{}.intermediate.dense', 'layers.{}.blocks.{}.mlp.fc1'),
    ('encoder.layers.{}.blocks.{}.output.dense', 'layers.{}.blocks.{}.mlp.fc2'),
    ('encoder.layers.{}.downsample', 'layers.{}.downsample'),
    ('hidden_states_norms.stage{+1}', 'norm{}'),
    ('layernorm', 'norm'),
)
# torchvision counts stages and mergings alike: embedding, stage, merging, stage, ...
TORCHVISION_SWIN: Pairs = (
    ('features.0.0', 'patch_embed.proj'),
    ('features.0.2', 'patch_embed.norm'),
    *(
        (f'features.{2 * stage + 1}.{{}}.{theirs}', f'layers.{stage}.blocks.{{}}.{ours}')
        for stage in range(4)
        for theirs, ours in (
            ('norm1', 'norm1'),
            ('attn', 'attn'),
            ('norm2', 'norm2'),
            ('mlp.0', 'mlp.fc1'),
            ('mlp.3', 'mlp.fc2'),
        )
    ),
    *((f'features.{2 * stage + 2}', f'layers.{stage}.downsample') for stage in range(3)),
    ('norm', 'norm'),
)


@dataclass(frozen=True)
class SwinNaming(Naming):
    """The names of one library, and what it orders otherwise.

    Args:
        unfolded (bool): Whether patch merging reads 2x2 pixels in the order of ``nn.Unfold``
            (channel by channel, row by row) instead of the official one.
        stores_index (bool): Whether ``relative_position_index`` is stored.
    """

    unfolded: bool = False
    stores_index: bool = False


_MM_SWIN = SwinNaming('mmdet, mmseg, mmpretrain', MM_SWIN, unfolded=True, stores_index=True)


class SwinFamily(Family):
    """Swin Transformer (arXiv 2103.14030): stages of blocks, a merging behind each but the last."""

    name = 'swin'
    title = 'Swin'
    classes = ('SwinTransformer', 'ManifoldSwin')
    namings: ClassVar[Mapping[str, SwinNaming]] = {
        'timm': SwinNaming('timm', TIMM_SWIN),
        'official': SwinNaming('official', OFFICIAL_SWIN, stores_index=True),
        'mmdet': _MM_SWIN,
        'mmseg': _MM_SWIN,
        'mmpretrain': _MM_SWIN,
        'transformers': SwinNaming(
            'transformers', TRANSFORMERS_SWIN, TRANSFORMERS_ANCHOR, is_written=False
        ),
        'torchvision': SwinNaming(
            'torchvision', TORCHVISION_SWIN, r'features\.0\.0\.weight', is_written=False
        ),
    }
    #: timm's and the official Swin differ in where patches are merged.
    signs: ClassVar[tuple[tuple[str, str], ...]] = (
        ('mmdet', r'stages\.\d+\.blocks\.\d+\.'),
        ('official', r'layers\.0\.downsample\.'),
        ('timm', r'layers\.\d+\.downsample\.'),
        ('official', r'layers\.\d+\.blocks\.\d+\.'),
        ('transformers', r'encoder\.layers\.\d+\.blocks\.\d+\.attention\.self\.'),
        ('torchvision', r'features\.\d+\.\d+\.attn\.'),
    )
    #: Pattern of what reads 2x2 pixels in a row.
    merging = r'.*\.downsample\.'
    peers: ClassVar[tuple[str, ...]] = ('mmdet', 'mmseg', 'mmpretrain', 'timm')
    hints: ClassVar[tuple[tuple[str, str], ...]] = (
        (r'absolute_pos_embed', 'absolute positions in Swin are not supported'),
    )

    def read(  # type: ignore[override]  # its namings are all of this class
        self, weights: Weights, naming: SwinNaming
    ) -> None:
        """Bring patch merging and positions into the official order, and place the final norm."""
        fuse_projections(weights)
        self.read_positions(weights)
        if naming.unfolded:
            for name in [n for n in weights.state if re.match(self.merging, n)]:
                weights.state[name] = merging_from_unfold(weights.state[name])
        last = last_stage(weights.state)
        for name in [n for n in weights.state if n.startswith('norm.')]:
            ours = name.replace('norm', f'norm{last}')
            if ours in weights.state:
                weights.unknown[name] = weights.state.pop(name)
            else:
                weights.state[ours] = weights.state.pop(name)
                weights.entries.append(Entry('moved', ours, "the classifier's final norm"))

    def read_positions(self, weights: Weights) -> None:
        """Bring position bias into the order of the standard index, which is then not needed."""
        state = weights.state
        for name in [n for n in state if n.endswith('.relative_position_index')]:
            index, table = square(state.pop(name)), name.replace('_index', '_bias_table')
            ordered = standard_table(state[table], index) if table in state else None
            if ordered is None and table in state:
                raise CheckpointError(
                    f'{name} {tuple(index.shape)} does not belong to its bias table '
                    f'{tuple(state[table].shape)}; the checkpoint is damaged or of another '
                    'architecture'
                )
            if ordered is None:
                weights.unknown[name] = index
                continue
            state[table] = ordered
            weights.entries.append(Entry('dropped', name, 'buffer'))

    def fit(self, state: dict[str, Tensor], model: Any, report: Report) -> None:
        """Resample position bias to the window; leave out stages that the model lacks."""
        num_stages = len(model.layers)
        for name, value in list(state.items()):
            match = re.match(r'(?:layers\.|norm)(\d+)\.(downsample)?', name)
            stage = int(match[1]) if match else -1
            merges = match is not None and match[2] is not None
            merges_last = merges and stage == num_stages - 1
            if num_stages <= stage < len(model.depths) or (
                merges_last and num_stages < len(model.depths)
            ):
                drop(state, name, 'behind the last output', report)
            elif (
                name.startswith('norm')
                and 0 <= stage < num_stages
                and stage not in model.out_indices
            ):
                drop(state, name, 'norm of a stage that is no output', report)
            elif name.endswith('.relative_position_bias_table'):
                replace(state, name, resize_table(value, model.window_size), report)

    def excuse(self, weights: Weights, report: Report) -> None:
        """A classifier normalises its last stage alone: the other output norms are no loss."""
        norms = {int(m[1]) for m in map(re.compile(r'norm(\d+)\.').match, weights.state) if m}
        if norms - {last_stage(weights.state)}:
            return
        reason = 'classifiers have no such norm; it keeps its initial values'
        report.entries = [
            Entry('fresh', entry.name, reason)
            if entry.status == 'missing' and re.match(r'norm\d+\.', entry.name)
            else entry
            for entry in report.entries
        ]

    def write(
        self, state: dict[str, Tensor], library: str, entries: list[Entry]
    ) -> dict[str, Tensor]:
        """Order patch merging, positions and norms as the library does."""
        naming = self.namings[library]
        state = place_final_norm(state, library, entries)
        for name in list(state):
            if naming.unfolded and re.match(self.merging, name):
                state[name] = merging_to_unfold(state[name])
            if naming.stores_index and name.endswith('.relative_position_bias_table'):
                index = name.replace('_bias_table', '_index')
                state[index] = square_index(state[name], name)
        return state

    def stock_config(  # type: ignore[override]  # weights tell all
        self, weights: Weights, library: str
    ) -> dict[str, Any]:
        """The config of a library's SwinTransformer."""
        state = weights.state
        depths = count_blocks(state)
        stages = range(len(depths))
        tables = [f'layers.{i}.blocks.0.attn.relative_position_bias_table' for i in stages]
        arch: dict[str, Any] = dict(
            embed_dims=state['patch_embed.proj.weight'].shape[0],
            depths=tuple(depths),
            num_heads=tuple(state[table].shape[1] for table in tables),
        )
        index = square_index(state[tables[0]], tables[0])
        common = dict(
            window_size=math.isqrt(index.shape[0]),
            out_indices=tuple(i for i in stages if f'norm{i}.weight' in state),
        )
        if library == 'mmpretrain':
            # Without padding, its Swin shrinks windows on small maps, as classifiers do.
            return dict(type='mmpretrain.SwinTransformer', arch=arch, pad_small_map=True, **common)
        return dict(
            type=f'{library}.SwinTransformer',
            **arch,
            **common,
            strides=(4, *[2] * (len(depths) - 1)),
            mlp_ratio=mlp_width(state, 'layers.0.blocks.0') // arch['embed_dims'],
            qkv_bias='layers.0.blocks.0.attn.qkv.bias' in state,
        )

    def peer_config(self, library: str, name: str, arch: dict) -> dict[str, Any]:
        """A library's SwinTransformer with all stages as outputs."""
        cfg = dict(type=f'{library}.SwinTransformer')
        if library == 'mmpretrain':
            return dict(cfg, arch=name, out_indices=(0, 1, 2, 3))
        return dict(cfg, **arch)

    def peer_timm(self, name: str, size: tuple[int, int]) -> dict[str, Any]:
        """timm's, with windows always partitioned, as in the official Swin."""
        model = f'swin_{name}_patch4_window7_224'
        return dict(model_name=model, img_size=size, always_partition=True)


def square(index: Tensor) -> Tensor:
    """An index (N, N) that torchvision stores as one row (N^2,)."""
    side = math.isqrt(index.numel())
    return index.view(side, side) if index.shape == (side * side,) else index


def square_index(table: Tensor, name: str) -> Tensor:
    """The standard index (N, N) that belongs to a table of position biases.

    Raises:
        CheckpointError: If the table is of no square window.
    """
    index = window_index(table)
    if index is None:
        raise CheckpointError(
            f'{name} {tuple(table.shape)} is not of a square window, the only ones that libraries '
            'index alike; keep such a checkpoint in the naming of its own library'
        )
    return index


def last_stage(state: dict[str, Tensor]) -> int:
    """Number of the last stage in weights in our layout."""
    return max(int(name.split('.')[1]) for name in state if name.startswith('layers.'))


def count_blocks(state: dict[str, Tensor]) -> list[int]:
    """Blocks in each stage."""
    stages = [int(name.split('.')[1]) for name in state if name.endswith('.norm1.weight')]
    return [stages.count(i) for i in range(max(stages) + 1)]


def place_final_norm(
    state: dict[str, Tensor], library: str, entries: list[Entry]
) -> dict[str, Tensor]:
    """Name the output norms as the library does.

    The mm libraries have one for each output. timm and the official classifier have one, of the
    last stage; the official detector has them all.
    """
    if library not in ('timm', 'official'):
        return state
    norms = [name for name in state if re.match(r'norm\d+\.', name)]
    last = last_stage(state)
    others = [name for name in norms if not name.startswith(f'norm{last}.')]
    if library == 'official' and others:
        return state
    for name in norms:
        value = state.pop(name)
        if name in others:
            entries.append(Entry('dropped', name, f'{library} normalises the last stage alone'))
        else:
            state[name.replace(f'norm{last}', 'norm')] = value
    return state


SWIN = register_family(SwinFamily())
