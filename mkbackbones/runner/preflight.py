"""Checks that turn a failure minutes into a run into one sentence before it."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..hints import did_you_mean
from ..opencv import load as load_opencv
from ..openmmlab.distributions import look
from ..openmmlab.faults import fault_of, line_to_keep
from ..openmmlab.names import OWNERS, Line
from .errors import InputError

if TYPE_CHECKING:
    from mmengine.config import Config


#: What to install for other scopes of OpenMMLab; that of the other line would bring the other line.
DISTRIBUTIONS: dict[str, dict[Line, str]] = {'mmpretrain': {'maintained': 'onedl-mmpretrain'}}


def check_cv2() -> None:
    """Raise InputError, with the command that mends it, if there is no OpenCV that works here.

    mmcv imports it, and in a server without libGL it cannot always be imported.
    """
    try:
        load_opencv()
    except ImportError as error:
        raise InputError(str(error)) from error


def check_scope(cfg: Config, path: Path) -> None:
    """Raise InputError if the library that the config belongs to is not installed, or broken."""
    scope = cfg.get('default_scope')
    fault = fault_of(scope) if scope in OWNERS else None
    if fault is not None:
        raise InputError(f'config {path} belongs to {scope} (its default_scope): {fault}')
    if scope and importlib.util.find_spec(scope) is None:
        name = DISTRIBUTIONS.get(scope, {}).get(line_to_keep(look()), scope)
        raise InputError(
            f'config {path} belongs to {scope} (its default_scope), which is not installed: '
            f'pip install {name}'
        )


def check_paths(cfg: Config, stages: tuple[str, ...]) -> None:
    """Raise InputError if local data or weights that ``cfg`` names do not exist, or not in full.

    Args:
        cfg (Config): config of mmdet, mmseg, mmpretrain or mmengine.
        stages (tuple[str, ...]): which of 'train', 'val' and 'test' the command will run.
    """
    from ..datasets.lost_pictures import lost_pictures

    for stage in stages:
        for key, file in stage_paths(cfg, stage):
            if not os.path.exists(file):
                raise InputError(
                    f'{key}: {file} does not exist; `python -m mkbackbones prepare-dataset --help` '
                    'tells how to prepare data, and where it lies elsewhere, set MKBACKBONES_DATA '
                    '(shipped configs) or the data_root of the config'
                )
        loader = f'{stage}_dataloader'
        for dataset in datasets_of(cfg, loader):
            fault = lost_pictures(dataset)
            if fault is not None:
                raise InputError(f'{loader}: {fault}')
    check_checkpoint(cfg.get('load_from'))


def check_classes(cfg: Config, stages: tuple[str, ...]) -> None:
    """Raise InputError if a config and its annotation files name different classes.

    Classes that the config leaves out by choice are told on standard error.

    Args:
        cfg (Config): config of mmdet or mmseg.
        stages (tuple[str, ...]): which of 'train', 'val' and 'test' the command will run.
    """
    from ..datasets.class_names import class_fault, class_note

    scope = cfg.get('default_scope')
    for stage in stages:
        loader = f'{stage}_dataloader'
        for dataset in datasets_of(cfg, loader):
            fault = class_fault(dataset, scope)
            if fault is not None:
                raise InputError(f'{loader}: {fault}')
            note = class_note(dataset, scope)
            if note is not None:
                print(f'note: {loader}: {note}', file=sys.stderr)


def stage_paths(cfg: Config, stage: str) -> Iterator[tuple[str, str]]:
    """Yield the config key and the path of each local file that a stage reads."""
    loader, evaluator = f'{stage}_dataloader', f'{stage}_evaluator'
    for dataset in datasets_of(cfg, loader):
        if not dataset.get('backend_args'):  # with them, it is not on this file system
            yield from ((loader, path) for path in dataset_paths(dataset))
    metrics = cfg.get(evaluator) or []
    for metric in metrics if isinstance(metrics, (list, tuple)) else [metrics]:
        path = metric.get('ann_file')
        if path and '://' not in path and not metric.get('backend_args'):
            yield evaluator, path


def check_checkpoint(checkpoint: str | None) -> None:
    """Raise InputError if ``checkpoint`` is a local path without a file."""
    if not checkpoint or '://' in checkpoint or os.path.isfile(checkpoint):
        return
    if os.path.isdir(checkpoint):
        raise InputError(f'checkpoint {checkpoint} is a folder; give a file in it')
    raise InputError(f'checkpoint {checkpoint} does not exist')


def check_teachers(cfg: Config) -> None:
    """Raise InputError if a model that a hook learns from cannot be had, or is not for ``cfg``.

    Args:
        cfg (Config): config of a training.
    """
    if not any(is_distillation(hook) for hook in cfg.get('custom_hooks') or []):
        return
    from ..engine.distill import DistillHook

    for hook in filter(is_distillation, cfg.custom_hooks):
        given = {k: v for k, v in hook.items() if k not in ('type', 'priority')}
        known = list(inspect.signature(DistillHook).parameters)
        for name in given:
            if name not in known:
                raise InputError(
                    f'custom_hooks, DistillHook: {name} is not one of its settings, '
                    f'{", ".join(known)}{did_you_mean(name, known)}'
                )
        try:
            DistillHook(**given).check_config(cfg)
        except (TypeError, ValueError) as error:
            raise InputError(f'custom_hooks, DistillHook: {error}') from error


def is_distillation(hook: Any) -> bool:
    """Whether an entry of ``custom_hooks`` is a DistillHook."""
    return isinstance(hook, dict) and str(hook.get('type')).rpartition('.')[2] == 'DistillHook'


def datasets_of(cfg: Config, loader: str) -> Iterator[dict]:
    """The innermost data set configs of a loader, e.g. 'train_dataloader'."""
    return iter_datasets((cfg.get(loader) or {}).get('dataset'))


def iter_datasets(dataset: Any) -> Iterator[dict]:
    """Yield the innermost data set configs below wrappers (``dataset=``, ``datasets=``)."""
    if isinstance(dataset, (list, tuple)):
        for item in dataset:
            yield from iter_datasets(item)
    elif isinstance(dataset, dict):
        inner = dataset.get('dataset') or dataset.get('datasets')
        if inner:
            yield from iter_datasets(inner)
        else:
            yield dataset


def dataset_paths(dataset: dict) -> Iterator[str]:
    """Yield the paths of one data set config, joined the way mmengine's BaseDataset does."""
    root = dataset.get('data_root') or ''
    prefix = dataset.get('data_prefix') or {}
    prefixes = prefix.values() if isinstance(prefix, dict) else [prefix]
    for path in (dataset.get('ann_file'), *prefixes):
        if isinstance(path, str) and path and '://' not in path:
            yield os.path.join(root, path)
