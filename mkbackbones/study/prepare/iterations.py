"""Iterations of a run: what its config says, counted in iterations and stretched to the budget.

What the config file says is stretched; what the options of a task set explicitly is kept.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict

from ..define.plan import Run
from ..define.spec import Study

__all__ = [
    'Stretched',
    'count_iterations',
    'explicit_paths',
    'for_main_runs',
    'planned_iterations',
    'set_iterations',
    'stretched_in_words',
]

#: Entries of a schedule that count epochs or iterations.
COUNTS = ('begin', 'end', 'T_max', 'step_size')

#: Place in the config, value before, value after.
Stretched = tuple[str, object, object]


def explicit_paths(options: dict, place: str = '') -> Iterator[str]:
    """Places of a config that overrides set, e.g. ``train_cfg.val_interval``."""
    for name, value in options.items():
        if isinstance(value, dict) and value:
            yield from explicit_paths(value, f'{place}{name}.')
        else:
            yield f'{place}{name}'


def count_iterations(cfg: Config, num_images: int) -> None:
    """Let a config that counts epochs count iterations: a study compares equal numbers of them.

    Args:
        cfg (Config): The config to change; one that counts iterations stays as it is.
        num_images (int): Images of the train split.
    """
    if cfg.train_cfg.get('max_epochs') is None:
        return
    length = math.ceil(num_images / cfg.train_dataloader.batch_size)
    epochs = cfg.train_cfg.max_epochs
    interval = cfg.train_cfg.get('val_interval', 1)
    cfg.train_cfg = ConfigDict(
        type='IterBasedTrainLoop', max_iters=epochs * length, val_interval=interval * length
    )
    for _, scheduler in schedulers_of(cfg):
        if scheduler.pop('by_epoch', True):
            scheduler.pop('convert_to_iter_based', None)
            for key in COUNTS:
                if isinstance(scheduler.get(key), int):
                    scheduler[key] *= length
            if scheduler.get('milestones'):
                scheduler.milestones = [m * length for m in scheduler.milestones]
        scheduler.by_epoch = False
    hook = (cfg.get('default_hooks') or {}).get('checkpoint')
    if hook:
        hook.interval = hook.get('interval', 1) * length
    cfg.log_processor = dict(cfg.get('log_processor') or {}, by_epoch=False)
    sampler: Any = cfg.train_dataloader.get('sampler') or {}
    if sampler.get('type') == 'DefaultSampler':  # which would restart its workers every epoch
        sampler.type = 'InfiniteSampler'


def planned_iterations(study: Study, run: Run, cfg: Config) -> int | None:
    """Iterations of a run as far as the study file tells; None for what a timing tells.

    Args:
        study (Study): The study.
        run (Run): The run.
        cfg (Config): Config of its task, which counts iterations.
    """
    task = study.tasks[run.task]
    if run.stage == 'trial' and study.learning_rates.iters:
        return study.learning_rates.iters
    if task.iters or study.budget.iters:
        return task.iters or study.budget.iters
    return None if study.budget.minutes else cfg.train_cfg.max_iters


def schedulers_of(cfg: Config) -> list[tuple[str, ConfigDict]]:
    """The schedules of learning rate and momentum, each with its place in the config."""
    schedulers = cfg.get('param_scheduler') or []
    if not isinstance(schedulers, list):
        return [('param_scheduler', schedulers)]
    return [(f'param_scheduler.{index}', entry) for index, entry in enumerate(schedulers)]


def set_iterations(
    cfg: Config, iters: int, options: dict | None = None, planned: int | None = None
) -> list[Stretched]:
    """Stretch or shrink the training of a config to a number of iterations, schedule included.

    Args:
        cfg (Config): The config to change.
        iters (int): Iterations.
        options (dict | None): Overrides that the config has taken in already; what they set is
            meant for ``planned`` iterations.
        planned (int | None): Iterations of a main run, where this is a shorter trial; then what
            options set shrinks with it.

    Returns:
        list[tuple]: What was changed: place, value before, value after.
    """
    former = cfg.train_cfg.max_iters
    if iters == former and planned in (None, iters):
        return []
    kept = set(explicit_paths(options or {}))
    found: list[Stretched] = []

    def change(holder: ConfigDict, name: str, place: str, least: int) -> None:
        path = f'{place}.{name}'
        explicit = any(path == known or path.startswith(f'{known}.') for known in kept)
        ratio = iters / ((planned or iters) if explicit else former)
        value = holder[name]
        many = isinstance(value, list | tuple)
        new = [max(round(v * ratio), least) for v in (value if many else [value])]
        new = new if many else new[0]
        if new != (list(value) if many else value):
            found.append((path, value, new))
            holder[name] = new

    cfg.train_cfg.setdefault('val_interval', former)
    change(cfg.train_cfg, 'val_interval', 'train_cfg', 1)
    for place, scheduler in schedulers_of(cfg):
        for key in COUNTS:
            if isinstance(scheduler.get(key), int):
                least = {'begin': 0, 'end': scheduler.get('begin', 0) + 1}.get(key, 1)
                change(scheduler, key, place, least)
        if scheduler.get('milestones'):
            change(scheduler, 'milestones', place, 1)
    if iters != former:
        found.insert(0, ('train_cfg.max_iters', former, iters))
        cfg.train_cfg.max_iters = iters
    return found


def for_main_runs(study: Study, key: str, cfg: Config) -> tuple[Config, list[Stretched]]:
    """A task's config as its main runs have it, as far as the study file tells their iterations.

    Args:
        study (Study): The study.
        key (str): Key of the task.
        cfg (Config): Its config, which counts iterations; it is left as it is.

    Returns:
        tuple[Config, list]: The config, and what was changed as :func:`set_iterations` tells it.
    """
    cfg = copy.deepcopy(cfg)
    run = Run('main', key, study.baseline.key, study.seeds[0])
    iters = planned_iterations(study, run, cfg)
    if iters is None:
        return cfg, []
    return cfg, set_iterations(cfg, iters, study.tasks[key].options)


def stretched_in_words(study: Study, key: str, found: list[Stretched]) -> list[str]:
    """A sentence for a report: what of a task's config was stretched, from what to what."""
    if study.budget.minutes and not study.tasks[key].iters:
        return [
            f'task {key}: the schedule and val_interval of its config file are stretched to as '
            'many iterations as a timing allows; what options set is kept'
        ]
    if not found:
        return []
    words = ', '.join(f'{place} from {before} to {after}' for place, before, after in found)
    return [
        f'task {key}: stretched from its config file to the budget: {words}; what options set is '
        'kept'
    ]
