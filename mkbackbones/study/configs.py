"""The config of a run: a task's config with the arm, seed, budget and weights put in."""

from __future__ import annotations

import copy
import math
from typing import Any

from mmengine.config import Config, ConfigDict

from .plan import Run
from .spec import Arm, StudyError, Task

__all__ = [
    'baseline_backbone',
    'count_iterations',
    'read_task_config',
    'run_config',
    'same_split',
    'set_iterations',
    'start_checkpoint',
]

#: Seeds are spaced, since worker w of a data loader is seeded with seed + w.
SEED_STEP = 100
TIMED_ITERATIONS = 12
#: Entries of a schedule that count epochs or iterations.
COUNTS = ('begin', 'end', 'T_max', 'step_size')


def read_task_config(task: Task) -> Config:
    """Read the config of a task, with the study's overrides.

    Raises:
        StudyError: The config cannot be read or lacks what a study needs.
    """
    from ..commands.config_files import one_line

    try:
        cfg = Config.fromfile(task.config)
        if task.data_root is not None:
            move_data(cfg, task.data_root)
        cfg.merge_from_dict(copy.deepcopy(task.options))
    except Exception as error:  # a config is a program: it may raise anything
        raise StudyError(f'task {task.key}, config {task.config}: {one_line(error)}') from error
    for key in ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator'):
        if cfg.get(key) is None:
            raise StudyError(f'task {task.key}: config {task.config} has no {key}')
    train_cfg = cfg.get('train_cfg') or {}
    if train_cfg.get('max_iters') is None and train_cfg.get('max_epochs') is None:
        raise StudyError(
            f'task {task.key}: config {task.config} says neither train_cfg.max_iters nor '
            'train_cfg.max_epochs'
        )
    if cfg.model.get('backbone') is None:
        raise StudyError(f'task {task.key}: the model of config {task.config} has no backbone')
    cfg.work_dir = None
    return cfg


def move_data(cfg: Config, root: str) -> None:
    """Let a config read its data from ``root`` instead of its own ``data_root``."""
    former = cfg.get('data_root')
    if not isinstance(former, str):
        raise ValueError('has no data_root at its top level; set the paths in options instead')
    for key, value in list(cfg.items()):
        cfg[key] = replaced_prefix(value, former, root.rstrip('/') + '/')


def replaced_prefix(value: Any, former: str, new: str) -> Any:
    """``value`` with ``new`` for ``former`` at the start of every string in it."""
    if isinstance(value, dict):
        return type(value)({k: replaced_prefix(v, former, new) for k, v in value.items()})
    if isinstance(value, list | tuple):
        return type(value)(replaced_prefix(v, former, new) for v in value)
    if isinstance(value, str) and value.startswith(former):
        return new + value[len(former) :]
    return value


def run_config(
    task_cfg: Config,
    task: Task,
    arm: Arm,
    run: Run,
    iters: int | None = None,
    lr: float | None = None,
    source: str | None = None,
) -> Config:
    """The complete config of a run.

    Args:
        task_cfg (Config): Of :func:`read_task_config`; it is left as it is.
        task (Task): The task.
        arm (Arm): The arm.
        run (Run): The run.
        iters (int | None): Iterations; None for the config's own.
        lr (float | None): Learning rate; None for the config's own.
        source (str | None): Checkpoint of the task that this one starts from.

    Returns:
        Config: A config for mmengine's runner.
    """
    cfg = copy.deepcopy(task_cfg)
    backbone = cfg.model.backbone
    if task.initial_weights == 'scratch':
        backbone.init_cfg = None
    elif task.initial_weights == 'config':
        pass
    elif 'checkpoint' in task.initial_weights:
        backbone.init_cfg = dict(type='Pretrained', checkpoint=task.initial_weights['checkpoint'])
    elif source is not None:
        backbone.init_cfg = dict(type='Pretrained', checkpoint=source, prefix='backbone.')
    cfg.model.backbone = arm_backbone(backbone, arm)
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=SEED_STEP * run.seed)
    if lr is not None:
        cfg.optim_wrapper.optimizer.lr = lr
    if run.stage == 'timing':
        cfg.train_cfg.update(max_iters=TIMED_ITERATIONS, val_interval=TIMED_ITERATIONS + 1)
    elif iters is not None:
        set_iterations(cfg, iters)
    return cfg


def start_checkpoint(task_cfg: Config, task: Task) -> str | None:
    """The checkpoint that a task's networks start from; None where there is none or a task."""
    weights = task.initial_weights
    if weights == 'config':
        return (task_cfg.model.backbone.get('init_cfg') or {}).get('checkpoint')
    return weights.get('checkpoint') if isinstance(weights, dict) else None


def arm_backbone(backbone: ConfigDict, arm: Arm) -> ConfigDict:
    """The task's backbone with an arm's entries."""
    entries = copy.deepcopy(arm.backbone)
    if not entries.pop('_delete_', False):
        entries = {**backbone, **entries}
    elif 'init_cfg' not in entries:
        entries['init_cfg'] = backbone.get('init_cfg')
    return ConfigDict(entries)


def baseline_backbone(task_cfg: Config, task: Task, baseline: Arm) -> ConfigDict:
    """The baseline's backbone, without the weights of another task."""
    run = Run('main', task.key, baseline.key, 0)
    return run_config(task_cfg, task, baseline, run).model.backbone


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
    for scheduler in schedulers_of(cfg):
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
    sampler = cfg.train_dataloader.get('sampler') or {}
    if sampler.get('type') == 'DefaultSampler':  # which would restart its workers every epoch
        sampler.type = 'InfiniteSampler'


def schedulers_of(cfg: Config) -> list[ConfigDict]:
    """The schedules of learning rate and momentum."""
    schedulers = cfg.get('param_scheduler') or []
    return schedulers if isinstance(schedulers, list) else [schedulers]


def set_iterations(cfg: Config, iters: int) -> None:
    """Stretch or shrink the training of a config to a number of iterations, schedule included."""
    former = cfg.train_cfg.max_iters
    if iters == former:
        return
    ratio = iters / former
    cfg.train_cfg.max_iters = iters
    interval = cfg.train_cfg.get('val_interval', former)
    cfg.train_cfg.val_interval = max(round(interval * ratio), 1)
    for scheduler in schedulers_of(cfg):
        for key in COUNTS:
            if isinstance(scheduler.get(key), int):
                scheduler[key] = round(scheduler[key] * ratio)
        if scheduler.get('end') is not None:
            scheduler.end = max(scheduler.end, scheduler.get('begin', 0) + 1)
        if scheduler.get('milestones'):
            scheduler.milestones = [max(round(m * ratio), 1) for m in scheduler.milestones]


def same_split(cfg: Config) -> bool:
    """Whether validation and test read the same data, as in configs for COCO or ADE20K."""
    val, test = cfg.val_dataloader.dataset, cfg.test_dataloader.dataset
    keys = ('data_root', 'ann_file', 'data_prefix', 'split')
    return all(val.get(key) == test.get(key) for key in keys)
