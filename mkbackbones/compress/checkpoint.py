"""A network whose keys were folded by calibration, as a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmengine.config import Config
from torch import Tensor, nn

from ..attention.inject import counted_attentions, stage_depths
from ..checkpoints.fold import Folded, require_stock_blocks, with_backbone, written
from ..checkpoints.report import CheckpointError
from ..keys.build import keys_per_block
from .fold_calibrated import BlockFold

__all__ = ['OWN', 'checkpoint_of', 'kept_keys', 'keys_of_blocks']

#: The naming in which blocks may keep their keys.
OWN = 'mkbackbones'


def checkpoint_of(
    model: Any, cfg: Config, found: list[BlockFold], naming: str, meta: dict[str, Any]
) -> Folded:
    """Weights of a folded model in a naming, with the config that goes with them.

    Args:
        model (nn.Module): What :func:`fold_calibrated` has left.
        cfg (Config): The config of the model as it was.
        found (list[BlockFold]): What it returned.
        naming (str): A naming of :func:`mkbackbones.checkpoints.fold.fold_checkpoint`, or
            ``mkbackbones``, where blocks may have kept their keys.
        meta (dict): What the checkpoint says beside its config, such as the classes.

    Raises:
        CheckpointError: If the naming cannot hold the backbone.
    """
    layers = [each.layer for each in found if each.folded]
    settings = cfg.to_dict()
    if naming == OWN:
        state = dict(model.state_dict())
        backbone = dict(settings['model']['backbone'])
        backbone['key_cfg'] = kept_keys(model.backbone, backbone['key_cfg'], found)
        settings = with_backbone(settings, backbone)
        return Folded(state, {**meta, 'cfg': Config(settings).pretty_text}, backbone, layers)
    require_stock_blocks(model.backbone)
    stay = [each.layer for each in found if not each.folded]
    if stay:
        raise CheckpointError(
            f'{len(stay)} keys stay as they are ({stay[0]}), which {naming} has no names for; '
            f'write --to {OWN}'
        )
    prefix = 'backbone.'
    state = model.state_dict()
    inside: dict[str, Tensor] = {}
    outside: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.startswith(prefix):
            inside[name.removeprefix(prefix)] = value
        else:
            outside[name] = value
    family = getattr(model.backbone, 'family', None)
    facts = family.facts(model.backbone) if family else {}
    return written(inside, outside, naming, prefix, facts, dict(meta), settings, layers)


def kept_keys(backbone: nn.Module, key_cfg: Any, found: list[BlockFold]) -> list[dict] | None:
    """The ``key_cfg`` of a backbone of which some blocks have kept their keys; None for none."""
    kept = {each.layer.removeprefix('backbone.') for each in found if not each.folded}
    return keys_of_blocks(
        backbone, key_cfg, lambda layer, config: config if layer in kept else None
    )


def keys_of_blocks(
    backbone: nn.Module, key_cfg: Any, changed: Callable[[str, dict], dict | None]
) -> list[dict] | None:
    """A ``key_cfg`` with changes in some blocks, as short as it can be; None for stock keys alone.

    Args:
        backbone (nn.Module): The backbone.
        key_cfg (dict | list[dict]): The one that it has been built with.
        changed (Callable): Gives the new key of a block, None for the stock key, from the name of
            its ``qkv`` in the backbone and its old key.
    """
    attentions = counted_attentions(backbone)
    configs = keys_per_block(key_cfg, stage_depths(attentions, key_cfg))
    entries: list[dict] = []
    for block, (name, old) in enumerate(zip(attentions, configs)):
        config = None if old is None else changed(f'{name}.qkv'.lstrip('.'), old)
        if config is None:
            continue
        alike = [
            entry for entry in entries if {**entry, 'blocks': None} == {**config, 'blocks': None}
        ]
        if alike:
            alike[0]['blocks'].append(block)
        else:
            entries.append({**config, 'blocks': [block]})
    return entries or None
