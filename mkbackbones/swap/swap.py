"""Swap the backbone of an existing mmdet or mmseg config, with everything that has to follow."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config, ConfigDict

from ..arguments import CONFIG, check
from ..backbones.base import Backbone
from ..checkpoints.fold import names_of_key
from .carry import carry_over, left_behind
from .check import check_model
from .consumers import (
    check_cascade,
    find_readers,
    fit_channels,
    renumber,
    require_readers,
)
from .features import (
    Features,
    SwapError,
    build_backbone,
    measure,
    require_same_in_training,
)
from .optimizer import fit_optimizer
from .pyramid import PYRAMID_CHANNELS, drop_rescaling, put_pyramid_in_front, replace_fpn
from .stages import matching_stages
from .weights import advise_weights, fits, forget_old_weights

#: What public ImageNet checkpoints of Swin, ViT and DeiT expect, in RGB.
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)


@dataclass
class Swap:
    """A config with another backbone.

    Attributes:
        cfg (Config): The new config; the one that was given is left as it is.
        changes (list[str]): What was changed, one line each, ``place: old -> new``.
        advice (list[str]): What was left alone and may need a decision.
    """

    cfg: Config
    changes: list[str]
    advice: list[str]


def swap_backbone(cfg: Config, backbone: dict) -> Swap:
    """Swap the backbone, and fit to it what depends on it.

    Channels and strides are measured by building both backbones, never looked up. With them follow
    the input channels of the neck, or of the heads where there is no neck; for a plain ViT under
    heads that want several scales, a :class:`SimpleFeaturePyramid`; the image normalisation;
    ``out_indices``; what the optimiser says about modules of the backbone; and what would load the
    old backbone's weights.

    Args:
        cfg (Config): Config of mmdet or mmseg.
        backbone (dict): The new backbone, e.g. ``dict(type='mkbackbones.ManifoldSwin',
            arch='tiny', key_cfg=dict(type='SpatialK'))``. Without ``out_indices`` it gets those
            that something reads; arguments that mean the same to both go along unless given.

    Returns:
        Swap: The new config, the changes, and advice.

    Raises:
        SwapError: There is no backbone, one of the two cannot be built, or something depends on
            the old one in a way that is not understood.
    """
    require_backbone(backbone)
    cfg = Config(copy.deepcopy(cfg._cfg_dict), filename=cfg.filename)
    where, model = find_model(cfg)
    scope = cfg.get('default_scope', 'mmengine')
    old_model = copy.deepcopy(model)
    old_cfg, new_cfg = model.backbone, ConfigDict(copy.deepcopy(backbone))
    changes = [f'{where}.backbone: {old_cfg.type} -> {new_cfg.type}']
    require_colour(old_cfg, new_cfg, where)
    old_module = build_backbone(old_cfg, scope)
    old = measure(old_module, old_cfg)
    require_same_in_training(old_module, old_cfg, len(old.channels))
    if carried := carry_over(old_cfg, new_cfg, scope):
        changes.append(f'{where}.backbone: as the old one has it, {", ".join(carried)}')
    new_module = build_backbone(new_cfg, scope)
    new, depth = measure(new_module, new_cfg), getattr(new_module, 'depth', None)
    if new.is_pyramid and not old.is_pyramid:
        old = drop_rescaling(model, old, where, changes)

    touched = fit_readers(model, old_cfg, new_cfg, old, new, where, scope, depth, changes)
    model.backbone = new_cfg
    for name in names_of_key(cfg._cfg_dict, old_cfg):
        if cfg[name] != new_cfg.get('key_cfg'):
            cfg.pop(name)
            changes.append(f'{name}: left out, as it was the key of the old backbone')
    new_module = build_backbone(new_cfg, scope)
    filled = fits(old_module, new_module)
    behind = left_behind(old_cfg, new_cfg, old_module, same_sizes=filled[0] == filled[1])
    fit_normalisation(cfg, model, where, changes)
    forget_old_weights(model, where, touched.places, filled[0] == filled[1], changes)
    add_import(cfg, changes)
    if isinstance(new_module, Backbone):
        add_recording(cfg, changes)
    advice = advise_weights(cfg, new_cfg, filled, old_cfg.get('init_cfg'))
    if behind:
        advice.append(f'of the old backbone these settings do not go along: {", ".join(behind)}')
    if touched.before != touched.after:
        advice.append(
            f'strides change from {touched.before} to {touched.after}; heads that rely on dilation '
            'see coarser maps, and anchors or priors with strides of their own have to follow'
        )
    fit_optimizer(cfg, old_module, new_module, changes, advice)
    advice += check_model(model, old_model, where, scope)
    return Swap(cfg, changes, advice)


def require_backbone(backbone: dict) -> None:
    """Check that the new backbone is the config of one.

    Raises:
        SwapError: It is not, or contains itself.
    """
    try:
        check('the new backbone', backbone, CONFIG)
    except ValueError as error:
        raise SwapError(str(error)) from error


@dataclass
class Fitted:
    """What was done to the readers of the maps.

    Attributes:
        places (list[str]): Places of the parts that have other inputs than before.
        before (list[int]): Strides of what was read, one for each output.
        after (list[int]): Strides of what is read now.
    """

    places: list[str]
    before: list[int]
    after: list[int]


def fit_readers(
    model: ConfigDict,
    old_cfg: ConfigDict,
    new_cfg: ConfigDict,
    old: Features,
    new: Features,
    where: str,
    scope: str,
    depth: int | None,
    changes: list[str],
) -> Fitted:
    """Choose the new backbone's outputs, and fit to them what reads them.

    Args:
        model (ConfigDict): The model, with the old backbone still in place; changed in place.
        old_cfg (ConfigDict): Config of the old backbone.
        new_cfg (ConfigDict): Config of the new one, which gets ``out_indices`` unless it has them.
        old (Features): What the old backbone gives.
        new (Features): What the new one gives.
        where (str): Place of the model.
        scope (str): Scope of the config.
        depth (int, optional): Blocks of the new one, where it says so.
        changes (list[str]): Extended in place.

    Raises:
        SwapError: The readers are not understood, or the new backbone lacks what they read.
    """
    readers = find_readers(model, old, where, scope, changes)
    given = new_cfg.get('backbone', new_cfg).get('out_indices') is not None
    total = len(old.channels)
    if not (given and new.is_pyramid):
        require_readers(readers, model, old, where)
    used = sorted({i for reader in readers for i in reader.positions})
    if new.is_pyramid or (given and len(new.channels) > 1 and not old.is_pyramid):
        if given:
            require_as_many(old, new)
            slots = {i: i for i in range(total)}
            chosen = new
        else:
            stages = matching_stages(old_cfg, old, new, readers, where)
            kept = sorted(set(stages.values()))
            slots = {i: kept.index(stage) for i, stage in stages.items()}
            new_cfg.get('backbone', new_cfg).out_indices = tuple(kept)
            chosen = new.select(kept)
        channels = {i: chosen.channels[slot] for i, slot in slots.items()}
        strides = {i: chosen.strides[slot] for i, slot in slots.items()}
    elif old.strides == new.strides[-1:] * total:
        if total > 1:
            same_blocks(old_cfg, new_cfg, old, used, depth, changes)
        slots = {i: used.index(i) for i in used}
        channels = dict.fromkeys(used, new.channels[-1])
        strides = dict.fromkeys(used, new.strides[-1])
    elif readers[0].is_neck and readers[0].part.get('type') == 'FPN':
        replace_fpn(model, readers[0], old, new, changes)
        return Fitted([readers[0].place], [], [])
    else:
        slots, strides = put_pyramid_in_front(model, readers, old, new, where, changes)
        channels = dict.fromkeys(slots, PYRAMID_CHANNELS)
    check_cascade(readers, model, old, strides, where)
    for reader in readers:
        fit_channels(reader, old, channels, changes)
        renumber(reader, slots, total, changes)
    return Fitted(
        [reader.place for reader in readers],
        [old.strides[i] for i in used],
        [strides[i] for i in used],
    )


def same_blocks(
    old_cfg: ConfigDict,
    new_cfg: ConfigDict,
    old: Features,
    used: list[int],
    depth: int | None,
    changes: list[str],
) -> None:
    """Let a plain ViT return the blocks that the old one returned and something reads.

    Where it has fewer blocks, they lie at the same share of the depth.

    Raises:
        SwapError: The old one does not say which these are, or the new one has too few blocks.
    """
    wanted = old_cfg.get('out_indices')
    if not isinstance(wanted, list | tuple) or len(wanted) != len(old.channels):
        raise SwapError(
            f'the old backbone {old_cfg.type} has {len(old.channels)} outputs of one stride and '
            'does not say of which blocks; give the new one out_indices with as many entries'
        )
    blocks = [wanted[i] for i in used]
    if depth is not None and max(blocks) >= depth:
        total = max(wanted) + 1
        blocks = [max(round((block + 1) * depth / total) - 1, 0) for block in blocks]
        if len(set(blocks)) < len(blocks):
            raise SwapError(
                f'the old backbone returns blocks {tuple(wanted)}, the new one has {depth} blocks; '
                f'give it at least {len(blocks)}'
            )
    if blocks != list(wanted):
        changes.append(f'backbone.out_indices: {tuple(wanted)} -> {tuple(blocks)}')
    new_cfg.get('backbone', new_cfg).out_indices = tuple(blocks)


def require_as_many(old: Features, new: Features) -> None:
    """Check that given ``out_indices`` are as many as the old outputs.

    Raises:
        SwapError: They are not.
    """
    if len(old.channels) != len(new.channels):
        raise SwapError(
            f'the old backbone has {len(old.channels)} outputs and the new one '
            f'{len(new.channels)}; give it out_indices with {len(old.channels)} entries'
        )


def require_colour(old: ConfigDict, new: ConfigDict, where: str) -> None:
    """Check that both backbones take images of as many channels.

    Raises:
        SwapError: They do not.
    """
    before, after = old.get('in_channels', 3), new.get('in_channels', 3)
    if isinstance(before, int) and before != after:
        raise SwapError(
            f'{where}.backbone takes images of in_channels={before}, {new.get("type")} of {after}; '
            'let the pipeline load pictures with as many channels (LoadImageFromFile with '
            "color_type='color' makes three of a grey one), fit mean and std, and take in_channels "
            'out of the config first'
        )


def find_model(cfg: Config) -> tuple[str, ConfigDict]:
    """The part of the config that has the backbone, and its place.

    Raises:
        SwapError: There is none.
    """
    model = cfg.get('model')
    if not isinstance(model, dict):
        raise SwapError('the config has no model')
    places: dict[str, Any] = {'model': model}
    for name in ('detector', 'segmentor'):  # semi-supervised and tracking models
        places[f'model.{name}'] = model.get(name)
    for where, part in places.items():
        if isinstance(part, ConfigDict) and 'backbone' in part:
            if not isinstance(part.backbone, dict) or not part.backbone.get('type'):
                raise SwapError(f'{where}.backbone has no type, so it cannot be built')
            return where, part
    raise SwapError(f'model ({model.get("type")}) has no backbone; its parts: {", ".join(model)}')


def fit_normalisation(cfg: Config, model: ConfigDict, where: str, changes: list[str]) -> None:
    """Normalise images as public ImageNet checkpoints of Swin and ViT expect it."""
    places = {
        f'{where}.data_preprocessor': model.get('data_preprocessor'),
        'model.data_preprocessor': cfg.model.get('data_preprocessor'),
        'data_preprocessor': cfg.get('data_preprocessor'),
    }
    for place, preprocessor in places.items():
        if not isinstance(preprocessor, dict) or 'mean' not in preprocessor:
            continue
        changed = {k: v for k, v in IMAGENET.items() if preprocessor.get(k) != v}
        if changed:
            before = {key: preprocessor.get(key) for key in changed}
            preprocessor.update(copy.deepcopy(changed))
            preprocessor.pop('rgb_to_bgr', None)
            changes.append(f'{place}: {before} -> {changed}')


def add_import(cfg: Config, changes: list[str]) -> None:
    """Import mkbackbones early, for the operators that mmdet needs."""
    imports = cfg.get('custom_imports') or dict(imports=[], allow_failed_imports=False)
    names = imports['imports']
    names = [names] if isinstance(names, str) else list(names)
    if 'mkbackbones' not in names:
        cfg.custom_imports = dict(imports, imports=['mkbackbones', *names])
        changes.append("custom_imports: + 'mkbackbones'")


def add_recording(cfg: Config, changes: list[str]) -> None:
    """Have passes of the backbone recorded, unless the config says how it runs."""
    hooks = cfg.get('custom_hooks') or []
    kinds = [hook.get('type') if isinstance(hook, dict) else type(hook) for hook in hooks]
    if not any(str(kind).endswith(('RecordBackboneHook', 'CompileBackboneHook')) for kind in kinds):
        cfg.custom_hooks = [*hooks, dict(type='mkbackbones.RecordBackboneHook')]
        changes.append("custom_hooks: + 'mkbackbones.RecordBackboneHook'")
