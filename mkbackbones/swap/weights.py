"""What would load the old model's weights."""

from __future__ import annotations

import copy
import logging

from mmengine.config import Config, ConfigDict
from torch import nn

from .consumers import NOT_READERS, parts_of


def fits(old: nn.Module, new: nn.Module) -> tuple[int, int]:
    """How many entries of a new backbone a checkpoint of the old one fills.

    Args:
        old (nn.Module): The old backbone.
        new (nn.Module): The new one; charts of manifold keys, which no checkpoint of the old one
            can hold, do not count.

    Returns:
        tuple[int, int]: Entries that are filled, and entries that there are.
    """
    disabled = logging.root.manager.disable
    wanted = {n for n, _ in new.named_parameters() if '.qkv.key.' not in n or '.base.' in n}
    state = {name: value.clone() for name, value in old.state_dict().items()}
    new = copy.deepcopy(new)
    try:
        logging.disable(logging.WARNING)  # what does not fit is told in one line
        missing = set(new.load_state_dict(state, strict=False).missing_keys)
    except RuntimeError:  # shapes that do not fit
        shapes = {name: value.shape for name, value in new.named_parameters()}
        missing = {n for n in wanted if n not in state or state[n].shape != shapes[n]}
    finally:
        logging.disable(disabled)
    return len(wanted - missing), len(wanted)


def forget_old_weights(
    model: ConfigDict, where: str, touched: list[str], loads: bool, changes: list[str]
) -> None:
    """Drop what would load the old backbone's weights, or those of parts that were changed.

    Args:
        model (ConfigDict): The model that has the backbone, changed in place.
        where (str): Its place.
        touched (list[str]): Places of parts with other inputs than before.
        loads (bool): Whether the old backbone's weights fit the new one.
        changes (list[str]): Extended in place.
    """
    if model.get('pretrained') is not None:  # mmseg's old style
        changes.append(f'{where}.pretrained: {model.pretrained} -> None')
        model.pretrained = None
    if loads and not touched:
        return
    parts = [(where, model)]
    for name in model:
        if name not in NOT_READERS or name == 'neck':
            parts += [part for part in parts_of(model, name, where) if part[0] in touched]
    for place, part in parts:
        for checkpoint in drop_pretrained(part):
            changes.append(
                f'{place}.init_cfg: {checkpoint} -> not loaded, it holds the old model; load_from '
                'takes what fits of it'
            )


def drop_pretrained(part: ConfigDict) -> list[str]:
    """Take checkpoints out of a part's ``init_cfg``; returns what they were."""
    cfgs = part.get('init_cfg')
    listed = list(cfgs) if isinstance(cfgs, list | tuple) else [cfgs]
    dropped = [c for c in listed if isinstance(c, dict) and c.get('type') == 'Pretrained']
    if not dropped:
        return []
    rest = [cfg for cfg in listed if not any(cfg is one for one in dropped)]
    part.init_cfg = rest or None
    return [str(cfg.get('checkpoint')) for cfg in dropped]


def advise_weights(
    cfg: Config, backbone: ConfigDict, found: tuple[int, int], old_init: object
) -> list[str]:
    """What is to know about the weights that the new model starts from."""
    filled, total = found
    share = 'all' if filled == total else f'{filled} of {total}'
    advice = []
    checkpoint = cfg.get('load_from')
    if checkpoint:
        of_backbone = (
            f'{share} entries of the new backbone will load from it (charts start anew)'
            if filled
            else 'of its backbone nothing will load'
        )
        advice.append(f'load_from {checkpoint} holds the old model; {of_backbone}')
    inner = backbone.get('backbone', backbone)
    if 'init_cfg' not in inner and not (checkpoint and filled):
        fitting = ''
        if filled == total and isinstance(old_init, dict) and old_init.get('checkpoint'):
            fitting = f"; the old one's weights fit: {old_init['checkpoint']}"
        advice.append(
            'the new backbone has no init_cfg, so it starts from random weights; give it '
            f"init_cfg=dict(type='Pretrained', checkpoint=...){fitting}"
        )
    return advice
