"""The config of a run: a task's config with the arm, seed, budget and weights put in."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.config import Config, ConfigDict

from ...late_imports import bring_in
from ...runner.config_files import merge_options, one_line
from ..define.plan import Run
from ..define.spec import Arm, StudyError
from ..define.tasks import Task
from .iterations import set_iterations

__all__ = [
    'baseline_backbone',
    'read_task_config',
    'run_config',
    'same_split',
    'start_checkpoint',
]

#: Seeds are spaced, since worker w of a data loader is seeded with seed + w.
SEED_STEP = 100
TIMED_ITERATIONS = 12


def read_task_config(task: Task) -> Config:
    """Read the config of a task, with the study's overrides.

    Raises:
        StudyError: The config cannot be read or lacks what a study needs.
        Needed: The command has to start again for it.
    """

    try:
        cfg = Config.fromfile(task.config)
        if task.data_root is not None:
            move_data(cfg, task.data_root)
        merge_options(cfg, copy.deepcopy(task.options))
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
    bring_in(cfg)
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
    planned: int | None = None,
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
        planned (int | None): Iterations of a main run, where this is a shorter trial.

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
        set_iterations(cfg, iters, task.options, planned)
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


def same_split(cfg: Config) -> bool:
    """Whether validation and test read the same data, as in configs for COCO or ADE20K."""
    val, test = cfg.val_dataloader.dataset, cfg.test_dataloader.dataset
    keys = ('data_root', 'ann_file', 'data_prefix', 'split')
    return all(val.get(key) == test.get(key) for key in keys)
