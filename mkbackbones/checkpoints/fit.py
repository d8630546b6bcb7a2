"""Fit weights in our layout to a model: sizes, what it was built without, and what remains."""

import re
from collections import Counter

import torch
from torch import Tensor, nn

from ..attention.qkv import ManifoldQKV
from .read import Weights
from .report import CheckpointError, Entry, Report
from .tensors import not_finite, resize_patches, resize_positions, resize_table

#: What to do about an entry that only one side has.
HINTS = (
    (r'reg_token', 'register tokens; set num_register_tokens as in the checkpoint'),
    (r'.*\.ls[12]\.', 'layer scale; set init_values as in the checkpoint'),
    (r'.*\.qkv\.(qv|key)\.', "a manifold key; key_cfg has to be the checkpoint's"),
    (r'absolute_pos_embed', 'absolute positions in Swin are not supported'),
    (r'norm\.(weight|bias)$', 'no norm before pooling in the checkpoint; set final_norm=False'),
    (r'cls_token', 'ManifoldViT always has a class token'),
)


def fit_weights(
    weights: Weights, model: nn.Module, source: str
) -> tuple[dict[str, Tensor], Report]:
    """Resample weights to a model's sizes and compare the two.

    Args:
        weights (Weights): Weights in our layout.
        model (nn.Module): A ManifoldSwin or ManifoldViT.
        source (str): What was read, for the report.

    Returns:
        tuple[dict[str, Tensor], Report]: What to load, shapes checked, and the report.

    Raises:
        CheckpointError: If the checkpoint is of another architecture or width, or nothing in it
            fits.
    """
    name = type(model).__name__
    report = Report(source, weights.naming, name, entries=list(weights.entries))
    if weights.layout != model.layout:
        kinds = {'swin': 'Swin', 'vit': 'ViT'}
        raise CheckpointError(f'{source} is a {kinds[weights.layout]}; it does not fit {name}')
    state = {**weights.unknown, **weights.state}
    widths = [len(v['patch_embed.proj.weight']) for v in (state, model.state_dict())]
    if widths[0] != widths[1]:
        raise CheckpointError(
            f'{source} has {widths[0]} channels, {name} {widths[1]}; choose the arch of the '
            'checkpoint'
        )
    (fit_swin if model.layout == 'swin' else fit_vit)(state, model, report)
    fill_biases(state, model, report)
    expected = expected_shapes(model, state)
    integers = {n for n, v in model.state_dict().items() if not v.is_floating_point()}
    for entry in sorted(set(state) - set(expected)):
        report.entries.append(Entry('unexpected', entry, hint(entry)))
        del state[entry]
    for entry in expected:
        if entry not in state:
            report.entries.append(Entry('missing', entry, hint(entry)))
        elif tuple(state[entry].shape) != expected[entry]:
            shapes = f'{tuple(state[entry].shape)} in the checkpoint, {expected[entry]} here'
            report.entries.append(Entry('shape', entry, shapes))
            del state[entry]
    refuse_strangers(report, state, source, name)
    for entry, value in list(state.items()):
        if not value.is_floating_point() and entry not in integers:
            report.entries.append(Entry('type', entry, f'{value.dtype}, no floating-point numbers'))
            del state[entry]
    for entry in not_finite(state):
        count, numel = int((~state[entry].isfinite()).sum()), state[entry].numel()
        report.entries.append(Entry('not finite', entry, f'{count} of {numel} values'))
    if model.layout == 'swin':
        excuse_output_norms(weights, report)
    report.loaded, report.total = len(state), len(expected)
    if not state:
        raise CheckpointError(f'nothing in {source} fits {name}:\n{report}')
    return state, report


def fit_swin(state: dict[str, Tensor], model: nn.Module, report: Report) -> None:
    """Resample position bias to the window; leave out stages that the model was built without."""
    num_stages = len(model.layers)
    for name, value in list(state.items()):
        match = re.match(r'(?:layers\.|norm)(\d+)\.(downsample)?', name)
        stage = int(match[1]) if match else -1
        merges_last = bool(match) and match[2] is not None and stage == num_stages - 1
        if num_stages <= stage < len(model.depths) or (
            merges_last and num_stages < len(model.depths)
        ):
            drop(state, name, 'behind the last output', report)
        elif name.startswith('norm') and 0 <= stage < num_stages and stage not in model.out_indices:
            drop(state, name, 'norm of a stage that is no output', report)
        elif name.endswith('.relative_position_bias_table'):
            replace(state, name, resize_table(value, model.window_size), report)


def fit_vit(state: dict[str, Tensor], model: nn.Module, report: Report) -> None:
    """Resample the embeddings; leave out blocks that the model was built without."""
    for name in list(state):
        match = re.match(r'blocks\.(\d+)\.', name)
        if match and len(model.blocks) <= int(match[1]) < model.depth:
            drop(state, name, 'behind the last output', report)
        elif name.startswith('norm.') and model.norm is None:
            drop(state, name, 'the model has no final norm', report)
    if 'patch_embed.proj.weight' in state:
        weight = state['patch_embed.proj.weight']
        size = (model.patch_size, model.patch_size)
        replace(state, 'patch_embed.proj.weight', resize_patches(weight, size), report)
    if 'pos_embed' in state and state['pos_embed'].dim() == 3:
        fit_positions(state, model, report)


def fit_positions(state: dict[str, Tensor], model: nn.Module, report: Report) -> None:
    """Let the position embedding cover the prefix tokens that the model's covers, and its grid."""
    pos_embed = state['pos_embed']
    covered = 0 if 'reg_token' in state else 1
    if covered > model.num_embedded_prefix:
        if 'cls_token' in state:
            state['cls_token'] = state['cls_token'] + pos_embed[:, :1]
        pos_embed = pos_embed[:, 1:]
    elif covered < model.num_embedded_prefix:
        pos_embed = torch.cat([torch.zeros_like(pos_embed[:, :1]), pos_embed], dim=1)
    state['pos_embed'] = pos_embed
    if pos_embed.shape[1] != model.pos_embed.shape[1]:
        resized = resize_positions(pos_embed, model.pretrain_grid, model.num_embedded_prefix)
        replace(state, 'pos_embed', resized, report)


def fill_biases(state: dict[str, Tensor], model: nn.Module, report: Report) -> None:
    """Fill in the zero biases of layers that have none in the checkpoint, the exact equivalent.

    Only where no layer of the kind has one: otherwise an absent bias is a lost one.
    """
    here = expected_shapes(model, state)
    for kind in ('patch_embed.proj', 'attn.qkv', 'attn.proj'):
        if any(name.endswith(f'{kind}.bias') for name in state):
            continue
        for name in [n for n in state if n.endswith(f'{kind}.weight')]:
            bias = name.removesuffix('weight') + 'bias'
            if bias in here:
                state[bias] = state[name].new_zeros(state[name].shape[0])
                report.entries.append(Entry('filled', bias, 'no bias in the checkpoint: zero'))


def expected_shapes(model: nn.Module, state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes by name that the model takes; manifold keys as stock projections where it gets some.

    Args:
        model (nn.Module): The model.
        state (dict[str, Tensor]): Weights in our layout.
    """
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name, layer in stock_layers(model, state):
        shapes = {n: s for n, s in shapes.items() if not n.startswith(f'{name}.')}
        shapes[f'{name}.weight'] = (3 * layer.out_dims, layer.in_features)
        if layer.qv.bias is not None:
            shapes[f'{name}.bias'] = (3 * layer.out_dims,)
    return shapes


def stock_layers(model: nn.Module, state: dict[str, Tensor]) -> list[tuple[str, ManifoldQKV]]:
    """The manifold layers for which the weights hold a stock projection."""
    return [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, ManifoldQKV) and f'{name}.weight' in state
    ]


def excuse_output_norms(weights: Weights, report: Report) -> None:
    """A classifier normalises its last stage alone: the other output norms are no loss."""
    norms = {int(m[1]) for m in map(re.compile(r'norm(\d+)\.').match, weights.state) if m}
    last = max(int(name.split('.')[1]) for name in weights.state if name.startswith('layers.'))
    if norms - {last}:
        return
    reason = 'classifiers have no such norm; it keeps its initial values'
    report.entries = [
        Entry('fresh', entry.name, reason)
        if entry.status == 'missing' and re.match(r'norm\d+\.', entry.name)
        else entry
        for entry in report.entries
    ]


def refuse_strangers(report: Report, state: dict[str, Tensor], source: str, name: str) -> None:
    """Raise CheckpointError if most blocks differ from ours: it is another architecture or depth.

    Single entries are reported; layer scale and manifold keys are other arguments of the model.
    """
    inside = re.compile(r'(?:layers\.\d+\.|stages\.\d+\.)?blocks\.\d+\.|layers\.\d+\.(?!\D*\.\d)')
    blocks = {match[0] for match in map(inside.match, state) if match}
    for found in (report.unexpected, report.missing):
        strange = [entry for entry in found if inside.match(entry) and not hint(entry)]
        kinds = Counter(re.sub(r'\d+', '*', entry) for entry in strange)
        if kinds and max(kinds.values()) >= max(len(blocks) / 2, 2):
            whose = 'its blocks' if found == report.unexpected else f'the blocks of {name}'
            raise CheckpointError(
                f'{source} does not fit {name}: {len(strange)} entries in {whose} have no '
                f'counterpart, e.g. {strange[0]}; choose the arch of the checkpoint, or a '
                f'checkpoint of this architecture\n{report}'
            )


def drop(state: dict[str, Tensor], name: str, reason: str, report: Report) -> None:
    """Leave an entry out, with a reason."""
    del state[name]
    report.entries.append(Entry('dropped', name, reason))


def replace(state: dict[str, Tensor], name: str, value: Tensor, report: Report) -> None:
    """Set a resampled value and report it if its shape changed."""
    before, state[name] = tuple(state[name].shape), value
    if tuple(value.shape) != before:
        detail = f'{before} to {tuple(value.shape)}'
        report.entries.append(Entry('resampled', name, detail))


def hint(name: str) -> str:
    """What an entry that only one side has is about, if that is known."""
    return next((text for pattern, text in HINTS if re.match(pattern, name)), '')
