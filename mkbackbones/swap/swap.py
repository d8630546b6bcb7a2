"""Swap the backbone of an existing mmdet or mmseg config, with everything that has to follow."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from mmengine.config import Config, ConfigDict

from .consumers import check_cascade, drop_unused_outputs, fit_consumers
from .features import Features, SwapError, backbone_features

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
    ``out_indices``; and what would load the old backbone's weights.

    Args:
        cfg (Config): Config of mmdet or mmseg.
        backbone (dict): The new backbone, e.g. ``dict(type='mkbackbones.ManifoldSwin',
            arch='tiny', key_cfg=dict(type='SpatialK'))``. Without ``out_indices`` it gets those of
            the old one.

    Returns:
        Swap: The new config, the changes, and advice.

    Raises:
        SwapError: There is no backbone, one of the two cannot be built, or something depends on
            the old one in a way that is not understood.
    """
    cfg = Config(copy.deepcopy(cfg._cfg_dict), filename=cfg.filename)
    where, model = find_model(cfg)
    scope = cfg.get('default_scope', 'mmengine')
    old = backbone_features(model.backbone, scope)
    new_cfg = ConfigDict(copy.deepcopy(backbone))
    changes = [f'{where}.backbone: {model.backbone.type} -> {new_cfg.type}']
    new = backbone_features(new_cfg, scope)
    if 'out_indices' not in new_cfg:
        if new.is_pyramid:
            wanted = matching_stages(model.backbone, old, len(new.channels))
            used = drop_unused_outputs(model, old, where, changes)
            new_cfg.out_indices = tuple(wanted[i] for i in used)
            old, new = old.select(used), new.select(new_cfg.out_indices)
        elif not old.is_pyramid and len(old.channels) > 1:  # the same blocks of a plain ViT
            new_cfg.out_indices = tuple(model.backbone.out_indices)
            new = backbone_features(new_cfg, scope)

    model.backbone = new_cfg
    seen: Features | None = new
    if old.is_pyramid and not new.is_pyramid:
        seen = add_pyramid(model, old, new, where, changes)
    elif len(old.channels) != len(new.channels):
        raise SwapError(
            f'the old backbone has {len(old.channels)} outputs and the new one '
            f'{len(new.channels)}; give it out_indices with {len(old.channels)} entries'
        )
    if seen is not None:
        if model.get('neck') is None:
            check_cascade(model, old, seen, where)
        fit_consumers(model, old, seen, where, changes)
    fit_normalisation(cfg, model, where, changes)
    forget_old_weights(model, where, changes)
    add_import(cfg, changes)
    return Swap(cfg, changes, advise(cfg, new_cfg, old, seen or old))


def find_model(cfg: Config) -> tuple[str, ConfigDict]:
    """The part of the config that has the backbone, and its place.

    Raises:
        SwapError: There is none.
    """
    model = cfg.get('model')
    if not isinstance(model, dict):
        raise SwapError('the config has no model')
    if 'backbone' in model:
        return 'model', model
    for name in ('detector', 'segmentor'):  # semi-supervised and tracking models
        if 'backbone' in (model.get(name) or {}):
            return f'model.{name}', model[name]
    raise SwapError(f'model ({model.get("type")}) has no backbone; its parts: {", ".join(model)}')


def matching_stages(old_cfg: ConfigDict, old: Features, num_stages: int) -> tuple[int, ...]:
    """Stages of the new backbone for the outputs of the old one: the same, or the last ones.

    Raises:
        SwapError: The old backbone has more outputs than the new one has stages.
    """
    wanted = old_cfg.get('out_indices')
    wanted = (wanted,) if isinstance(wanted, int) else wanted
    named = wanted is not None and len(wanted) == len(old.channels)  # some add the image itself
    if old.is_pyramid and named and max(wanted) < num_stages:
        return tuple(wanted)
    if len(old.channels) > num_stages:
        raise SwapError(
            f'the old backbone has {len(old.channels)} outputs, the new one {num_stages} stages'
        )
    return tuple(range(num_stages - len(old.channels), num_stages))


def add_pyramid(
    model: ConfigDict, old: Features, new: Features, where: str, changes: list[str]
) -> Features | None:
    """Make the scales that a plain ViT does not have.

    An FPN is replaced, since the pyramid does its work; other necks, and heads without a neck, get
    the pyramid in front.

    Returns:
        Features | None: What the rest of the model sees; None if it sees no change.

    Raises:
        SwapError: The strides that are needed are none of the pyramid's.
    """
    neck = model.get('neck')
    replaces = isinstance(neck, dict) and neck.get('type') == 'FPN'
    first = old.strides[neck.get('start_level', 0) if replaces else 0]
    stride = new.strides[-1]
    levels = [stride // 4, stride // 2, stride, 2 * stride]
    if first not in levels:
        raise SwapError(
            f'the heads want maps from stride {first} on; a pyramid over stride {stride} starts at '
            f'one of {", ".join(map(str, levels))}'
        )
    pyramid = ConfigDict(
        type='mkbackbones.SimpleFeaturePyramid',
        in_channels=new.channels[-1],
        out_channels=neck.out_channels if replaces else 256,
        num_outs=neck.num_outs if replaces else len(old.strides),
        start_level=levels.index(first),
    )
    if replaces:
        model.neck = pyramid
        changes.append(f'{where}.neck: FPN -> {dict(pyramid)}')
        return None
    rest = [] if neck is None else list(neck) if isinstance(neck, list) else [neck]
    model.neck = [pyramid, *rest] if rest else pyramid
    changes.append(f'{where}.neck: {dict(pyramid)} in front')
    strides = tuple(first * 2**i for i in range(pyramid.num_outs))
    return Features((pyramid.out_channels,) * pyramid.num_outs, strides)


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


def forget_old_weights(model: ConfigDict, where: str, changes: list[str]) -> None:
    """Drop mmseg's old-style ``pretrained``, which would load the old backbone's weights."""
    if model.get('pretrained') is not None:
        changes.append(f'{where}.pretrained: {model.pretrained} -> None')
        model.pretrained = None


def add_import(cfg: Config, changes: list[str]) -> None:
    """Import mkbackbones early, for the operators that mmdet needs."""
    imports = cfg.get('custom_imports') or dict(imports=[], allow_failed_imports=False)
    names = imports['imports']
    names = [names] if isinstance(names, str) else list(names)
    if 'mkbackbones' not in names:
        cfg.custom_imports = dict(imports, imports=['mkbackbones', *names])
        changes.append("custom_imports: + 'mkbackbones'")


def advise(cfg: Config, backbone: ConfigDict, old: Features, new: Features) -> list[str]:
    """What the swap left alone and a user may want to decide."""
    advice = []
    if 'init_cfg' not in backbone:
        advice.append(
            'the new backbone has no init_cfg, so it starts from random weights; give it '
            "init_cfg=dict(type='Pretrained', checkpoint=...)"
        )
    if old.strides != new.strides:
        advice.append(
            f'strides change from {old.strides} to {new.strides}; heads that rely on dilation see '
            'coarser maps'
        )
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    if optimizer.get('type') == 'SGD':
        advice.append(
            f'the optimizer is SGD with lr={optimizer.get("lr")}; transformers want AdamW, e.g. '
            'lr=1e-4, weight_decay=0.05 and a linear warm-up'
        )
    if cfg.get('load_from'):
        advice.append(
            f'load_from {cfg.load_from} holds the old model; of its backbone nothing will load'
        )
    return advice
