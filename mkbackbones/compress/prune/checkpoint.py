"""A pruned network as a checkpoint and a config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.config import Config

from ...attention.inject import fold_layer
from ...checkpoints.fold import with_backbone
from ..checkpoint import keys_of_blocks
from .blocks import BlockPrune

__all__ = ['DROPPED', 'pruned_config', 'stock_where_empty']

#: A hook that would take charts away again.
DROPPED = 'ChartSparsityHook'
PREFIX = 'backbone.'


def pruned_config(model: Any, cfg: Config, found: Sequence[BlockPrune]) -> Config:
    """The config that goes with a pruned model.

    Args:
        model (nn.Module): What :func:`~mkbackbones.compress.prune.blocks.prune` has left.
        cfg (Config): The config of the model as it was.
        found (Sequence[BlockPrune]): What that returned.

    Returns:
        Config: With ``key_cfg`` block by block, and without what belongs to a run.
    """
    settings = cfg.to_dict()
    for name in ('work_dir', 'launcher'):
        settings.pop(name, None)
    hooks = settings.get('custom_hooks')
    if hooks:
        settings['custom_hooks'] = [hook for hook in hooks if not is_dropped(hook)]
    after = {each.layer.removeprefix(PREFIX): each.after for each in found}
    backbone = dict(settings['model']['backbone'])

    def changed(layer: str, config: dict) -> dict | None:
        if layer not in after:
            return config
        if not after[layer]:
            return None
        key: Any = model.backbone.get_submodule(layer).key
        new = {**config, 'num_charts': key.num_charts}
        new.pop('chart_scale', None)
        if getattr(key, 'chart_scale', None) is not None:
            new['chart_scale'] = True
        return new

    backbone['key_cfg'] = keys_of_blocks(model.backbone, backbone['key_cfg'], changed)
    return Config(with_backbone(settings, backbone))


def is_dropped(hook: Any) -> bool:
    """Whether a hook of a config is left out."""
    return str(hook.get('type')).rpartition('.')[2] == DROPPED


def stock_where_empty(model: Any, found: Sequence[BlockPrune]) -> None:
    """Turn layers that have lost all charts into stock ones, in place."""
    for each in found:
        if not each.after:
            fold_layer(model, each.layer)
