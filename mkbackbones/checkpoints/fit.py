"""Fit weights in our layout to a model: sizes, what it was built without, and what remains."""

import re
from collections import Counter
from typing import Any

from torch import Tensor, nn

from ..attention.qkv import ManifoldQKV
from .families import Family, Weights
from .report import CheckpointError, Entry, Report
from .tensors import not_finite

#: What to do about a key's entry that only one side has, as in ``Family.hints``.
KEY_HINT = (r'.*\.qkv\.(qv|key)\.', "a manifold key; key_cfg has to be the checkpoint's")


def fit_weights(
    weights: Weights, model: nn.Module, source: str
) -> tuple[dict[str, Tensor], Report]:
    """Resample weights to a model's sizes and compare the two.

    Args:
        weights (Weights): Weights in our layout.
        model (nn.Module): A backbone with a ``family``.
        source (str): What was read, for the report.

    Returns:
        tuple[dict[str, Tensor], Report]: What to load, shapes checked, and the report.

    Raises:
        CheckpointError: If the checkpoint is of another architecture or width, or nothing in it
            fits.
    """
    name = type(model).__name__
    report = Report(source, weights.naming, name, entries=list(weights.entries))
    family: Any = model.family
    if weights.family is not family:
        raise CheckpointError(f'{source} is a {weights.family.title}; it does not fit {name}')
    state = {**weights.unknown, **weights.state}
    widths = [len(v[family.embedding]) for v in (state, model.state_dict())]
    if widths[0] != widths[1]:
        raise CheckpointError(
            f'{source} has {widths[0]} channels, {name} {widths[1]}; choose the arch of the '
            'checkpoint'
        )
    family.fit(state, model, report)
    fill_biases(state, model, report)
    expected = expected_shapes(model, state)
    integers = {n for n, v in model.state_dict().items() if not v.is_floating_point()}
    for entry in sorted(set(state) - set(expected)):
        report.entries.append(Entry('unexpected', entry, hint(entry, family)))
        del state[entry]
    for entry in expected:
        if entry not in state:
            report.entries.append(Entry('missing', entry, hint(entry, family)))
        elif tuple(state[entry].shape) != expected[entry]:
            shapes = f'{tuple(state[entry].shape)} in the checkpoint, {expected[entry]} here'
            report.entries.append(Entry('shape', entry, shapes))
            del state[entry]
    refuse_strangers(report, state, source, model)
    for entry, value in list(state.items()):
        if not value.is_floating_point() and entry not in integers:
            report.entries.append(Entry('type', entry, f'{value.dtype}, no floating-point numbers'))
            del state[entry]
    for entry in not_finite(state):
        count, numel = int((~state[entry].isfinite()).sum()), state[entry].numel()
        report.entries.append(Entry('not finite', entry, f'{count} of {numel} values'))
    family.excuse(weights, report)
    report.loaded, report.total = len(state), len(expected)
    if not state:
        raise CheckpointError(f'nothing in {source} fits {name}:\n{report}')
    return state, report


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


def refuse_strangers(
    report: Report, state: dict[str, Tensor], source: str, model: nn.Module
) -> None:
    """Raise CheckpointError if most blocks differ from ours: it is another architecture or depth.

    Single entries are reported; layer scale and manifold keys are other arguments of the model.
    """
    inside = re.compile(r'(?:layers\.\d+\.|stages\.\d+\.)?blocks\.\d+\.|layers\.\d+\.(?!\D*\.\d)')
    blocks = {match[0] for match in map(inside.match, state) if match}
    family: Any = model.family
    for found in (report.unexpected, report.missing):
        strange = [e for e in found if inside.match(e) and not hint(e, family)]
        kinds = Counter(re.sub(r'\d+', '*', entry) for entry in strange)
        if kinds and max(kinds.values()) >= max(len(blocks) / 2, 2):
            name = type(model).__name__
            whose = 'its blocks' if found == report.unexpected else f'the blocks of {name}'
            raise CheckpointError(
                f'{source} does not fit {name}: {len(strange)} entries in {whose} have no '
                f'counterpart, e.g. {strange[0]}; choose the arch of the checkpoint, or a '
                f'checkpoint of this architecture\n{report}'
            )


def hint(name: str, family: Family) -> str:
    """What an entry that only one side has is about, if that is known."""
    hints = (*family.hints, KEY_HINT)
    return next((text for pattern, text in hints if re.match(pattern, name)), '')
