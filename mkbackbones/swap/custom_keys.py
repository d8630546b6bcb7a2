"""``custom_keys``: multipliers of learning rate and weight decay, by names of modules."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mmengine.config import ConfigDict
from torch import nn

from ..engine.layer_decay import NO_DECAY, NORMS

#: Learning rate and weight decay, as multiples of the optimiser's.
Multipliers = tuple[float, float]
#: What a parameter is (norms by their place) and its stage, None outside of stages.
Kind = tuple[str, int | None]
#: A numbered child of the backbone, e.g. ``backbone.layers.2.``: a stage, or a block of a ViT.
STAGE = re.compile(r'backbone\.\w+\.(\d+)\.')
#: Scales of keys and layers, which are spared the decay as the weights of norms are.
SCALES = ('gamma', 'out_scale', 'chart_scale', 'temperature')


def fit_custom_keys(
    paramwise: ConfigDict,
    old: nn.Module,
    new: nn.Module,
    changes: list[str],
    advice: list[str],
) -> None:
    """Translate keys that name modules of the old backbone.

    Every parameter of the new backbone gets what parameters of its kind had in the old one: norms
    in blocks, between stages, behind the patches and at the outputs, position parameters, the
    rest. Where that differs by stage, stages correspond by number. Where it differs within a
    stage, the keys are told.

    Args:
        paramwise (ConfigDict): ``paramwise_cfg`` with ``custom_keys``, changed in place.
        old (nn.Module): The old backbone.
        new (nn.Module): The new one.
        changes (list[str]): Extended in place.
        advice (list[str]): Extended in place.
    """
    keys = dict(paramwise.custom_keys)
    before, after = kinds_of(old), kinds_of(new)
    dead = [key for key in keys if matches(key, before) and not matches(key, after)]
    if not dead:
        return
    goal = find_goal(before, after, keys)
    if goal is None:
        advice.append(
            f'{len(dead)} custom_keys of optim_wrapper.paramwise_cfg match nothing of the new '
            f'backbone ({listed(dead)}), so their learning rates and weight decays are lost; they '
            'do not follow stages or kinds of parameters: write such keys for the new modules'
        )
        return
    for key in dead:
        del keys[key]
    added = add_keys(keys, after, goal)
    paramwise.custom_keys = ConfigDict(keys)
    changes.append(
        f'optim_wrapper.paramwise_cfg.custom_keys: {len(dead)} of the old backbone '
        f'({listed(dead)}) -> {len(added)} of the new one ({listed(added) or "the rest says it"}), '
        'with the same multipliers'
    )


def find_goal(
    before: dict[str, Kind], after: dict[str, Kind], keys: dict
) -> dict[str, Multipliers] | None:
    """What each parameter of the new backbone should get; None where that is not told."""
    by_kind: dict[str, set[Multipliers]] = {}
    by_stage: dict[Kind, set[Multipliers]] = {}
    for name, kind in before.items():
        values = multipliers(name, keys)
        by_kind.setdefault(kind[0], set()).add(values)
        by_stage.setdefault(kind, set()).add(values)
    staged = any(len(values) > 1 for values in by_kind.values())
    if staged and (
        any(len(values) > 1 for values in by_stage.values()) or stages(before) != stages(after)
    ):
        return None
    norms = set().union(*(v for kind, v in by_kind.items() if kind.startswith('norm')))
    goal: dict[str, Multipliers] = {}
    for name, (what, stage) in after.items():
        found = by_stage.get((what, stage)) if staged else by_kind.get(what)
        if not found and staged and stage is not None:  # e.g. no norm between these stages
            found = by_stage.get(('norm of a block', stage) if 'norm' in what else ('rest', stage))
        if not found and what.startswith('norm') and len(norms) == 1:
            found = norms
        if not found:
            found = by_kind.get(what) or by_kind.get('rest', set())
        if len(found) != 1:
            return None
        goal[name] = next(iter(found))
    return goal


def add_keys(keys: dict, after: dict[str, Kind], goal: dict[str, Multipliers]) -> list[str]:
    """Add keys until every parameter gets its goal; returns those that were added."""
    added: list[str] = []

    def add(key: str, values: Multipliers) -> None:
        keys[key] = dict(lr_mult=values[0], decay_mult=values[1])
        added.append(key)

    for name, (kind, _) in after.items():  # most of a stage by one key
        stage = STAGE.match(name)
        if kind == 'rest' and stage and multipliers(name, keys) != goal[name]:
            add(stage[0], goal[name])
    for name, (kind, _) in after.items():
        if multipliers(name, keys) != goal[name]:
            is_norm = kind.startswith('norm') and name.rpartition('.')[2] not in SCALES
            add(name.rpartition('.')[0] if is_norm else name, goal[name])
    return added


def kinds_of(backbone: nn.Module) -> dict[str, Kind]:
    """Kind and stage of each parameter, by its name in a model."""
    norms = {name for name, module in backbone.named_modules() if isinstance(module, NORMS)}
    kinds = {}
    for name, _ in backbone.named_parameters():
        module, _, leaf = name.rpartition('.')
        full = f'backbone.{name}'
        stage = STAGE.match(full)
        if module in norms:
            kind = norm_kind(module)
        elif leaf in SCALES:
            kind = 'norm of a block'
        elif leaf in NO_DECAY and leaf != 'bias':
            kind = 'position'
        else:
            kind = 'rest'
        kinds[full] = kind, int(stage[1]) if stage else None
    return kinds


def norm_kind(module: str) -> str:
    """What a norm stands behind, by its name in the backbone."""
    if 'downsample' in module:
        return 'norm between stages'
    if '.' not in module:
        return 'norm of an output'
    return (
        'norm of the patches' if module.startswith(('patch_embed', 'stem')) else 'norm of a block'
    )


def stages(kinds: dict[str, Kind]) -> set[int]:
    """Numbers of the stages that there are."""
    return {stage for _, stage in kinds.values() if stage is not None}


def matches(key: str, names: Iterable[str]) -> bool:
    """Whether mmengine would apply a custom key to any of the names."""
    return any(key in name for name in names)


def multipliers(name: str, keys: dict) -> Multipliers:
    """Multipliers of a parameter, as mmengine finds them: the longest key counts."""
    for key in sorted(sorted(keys), key=len, reverse=True):
        if key in name:
            return float(keys[key].get('lr_mult', 1)), float(keys[key].get('decay_mult', 1))
    return 1.0, 1.0


def listed(names: list[str]) -> str:
    """The first names."""
    return ', '.join(names[:2]) + (', ...' if len(names) > 2 else '')
