"""Values of a config that mmengine would fail on later, or take without a word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..arguments import Rule, is_int, is_number, optional
from .errors import InputError

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ['check_values', 'pretrained_checkpoints', 'settle_loaders']


def _whole(least: int) -> Rule:
    return Rule(lambda value: is_int(value) and value >= least, f'a whole number from {least}')


_RATE = Rule(lambda value: is_number(value) and value >= 0, 'a number from 0')
_TYPED = Rule(lambda value: isinstance(value, dict) and 'type' in value, "a dict with a 'type'")
#: What the value at a place in a config has to be. Places that are not there count as left out.
RULES: dict[str, Rule] = {
    'model': _TYPED,
    'model.backbone': optional(_TYPED),
    'randomness.seed': optional(_whole(0)),
    'train_cfg.max_iters': optional(_whole(1)),
    'train_cfg.max_epochs': optional(_whole(1)),
    'train_cfg.val_interval': optional(_whole(1)),
    'optim_wrapper.optimizer': optional(_TYPED),
    'optim_wrapper.optimizer.lr': optional(_RATE),
    **{
        f'{split}_dataloader.{name}': optional(_whole(least))
        for split in ('train', 'val', 'test')
        for name, least in (('batch_size', 1), ('num_workers', 0))
    },
}
MISSING = object()


def look_up(cfg: Any, place: str) -> Any:
    """The value at a place, or :data:`MISSING`."""
    for name in place.split('.'):
        if not isinstance(cfg, dict) or name not in cfg:
            return MISSING
        cfg = cfg[name]
    return cfg


def check_values(cfg: Config) -> None:
    """Raise InputError for the first value that cannot be what it has to be."""
    content = cfg._cfg_dict
    for place, rule in RULES.items():
        value = look_up(content, place)
        if value is not MISSING and not rule.allows(value):
            raise InputError(f'{place}={value!r}; it has to be {rule.text}'[:400])
    for split in ('train', 'val', 'test'):
        workers = look_up(content, f'{split}_dataloader.num_workers')
        kept = look_up(content, f'{split}_dataloader.dataset.in_memory')
        if kept is True and workers is not MISSING and workers:
            raise InputError(
                f'{split}_dataloader.num_workers={workers}, and in_memory=True of its data set '
                'leaves loader processes nothing to do; set num_workers=0 or in_memory=False'
            )


def settle_loaders(cfg: Config) -> None:
    """Let a loader without workers not keep them alive nor fetch ahead, which torch refuses."""
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if isinstance(loader, dict) and loader.get('num_workers', 0) == 0:
            loader.pop('persistent_workers', None)
            loader.pop('prefetch_factor', None)


def pretrained_checkpoints(part: Any, place: str = 'model') -> Iterator[tuple[str, str]]:
    """Yield place and checkpoint of every ``init_cfg`` of a model that loads one."""
    if isinstance(part, dict):
        start = part.get('init_cfg')
        for entry in start if isinstance(start, list) else [start]:
            if isinstance(entry, dict) and entry.get('type') == 'Pretrained':
                checkpoint = entry.get('checkpoint')
                if isinstance(checkpoint, str):
                    yield f'{place}.init_cfg', checkpoint
        for name, inner in part.items():
            if name != 'init_cfg':
                yield from pretrained_checkpoints(inner, f'{place}.{name}')
    elif isinstance(part, list | tuple):
        for index, inner in enumerate(part):
            yield from pretrained_checkpoints(inner, f'{place}.{index}')
