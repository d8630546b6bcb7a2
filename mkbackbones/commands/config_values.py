"""Values of a config that mmengine would fail on later, or take without a word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .errors import CommandError

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ['check_values', 'pretrained_checkpoints', 'settle_loaders']


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= least


def _optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _typed(value: Any) -> bool:
    return isinstance(value, dict) and 'type' in value


#: Place in a config, what its value has to be, and how to say so. Places that are not there count
#: as left out.
RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ('model', _typed, "a dict with a 'type'"),
    ('model.backbone', _optional(_typed), "a dict with a 'type'"),
    ('randomness.seed', _optional(_whole(0)), 'a whole number from 0'),
    ('train_cfg.max_iters', _optional(_whole(1)), 'a whole number from 1'),
    ('train_cfg.max_epochs', _optional(_whole(1)), 'a whole number from 1'),
    ('train_cfg.val_interval', _optional(_whole(1)), 'a whole number from 1'),
    ('optim_wrapper.optimizer', _optional(_typed), "a dict with a 'type'"),
    ('optim_wrapper.optimizer.lr', _optional(_number), 'a number from 0'),
    *(
        (f'{split}_dataloader.{name}', _optional(_whole(least)), f'a whole number from {least}')
        for split in ('train', 'val', 'test')
        for name, least in (('batch_size', 1), ('num_workers', 0))
    ),
)
MISSING = object()


def look_up(cfg: Any, place: str) -> Any:
    """The value at a place, or :data:`MISSING`."""
    for name in place.split('.'):
        if not isinstance(cfg, dict) or name not in cfg:
            return MISSING
        cfg = cfg[name]
    return cfg


def check_values(cfg: Config) -> None:
    """Raise CommandError for the first value that cannot be what it has to be."""
    content = cfg._cfg_dict
    for place, check, words in RULES:
        value = look_up(content, place)
        if value is not MISSING and not check(value):
            raise CommandError(f'{place}={value!r}; it has to be {words}'[:400])


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
