"""The tasks of a study file: what each trains and tests, and what it starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ...hints import did_you_mean
from ...predict.tiles import Tiling
from ...runner.config_files import find_config
from ...runner.errors import InputError
from .entries import StudyError, allow, parse_folds, parse_tile, positive

__all__ = ['Task', 'TaskKind', 'in_order', 'parse_task']

TaskKind = Literal['classification', 'detection', 'instance-segmentation', 'segmentation']
TASK_KINDS: tuple[TaskKind, ...] = get_args(TaskKind)
#: Kind of task -> primary metrics and the name and factor of each in the evaluator's output.
PRIMARY: dict[TaskKind, dict[str, tuple[str, float]]] = {
    'classification': {'top1': ('accuracy/top1', 1.0)},
    'detection': {
        'AP': ('coco/bbox_mAP', 100.0),
        'AP50': ('coco/bbox_mAP_50', 100.0),
        'AP75': ('coco/bbox_mAP_75', 100.0),
    },
    'instance-segmentation': {
        'AP': ('coco/segm_mAP', 100.0),
        'AP50': ('coco/segm_mAP_50', 100.0),
        'AP75': ('coco/segm_mAP_75', 100.0),
    },
    'segmentation': {'mIoU': ('mIoU', 1.0)},
}


@dataclass(frozen=True)
class Task:
    """One task.

    Args:
        key (str): Name in folders and tables.
        kind (TaskKind): What it is.
        config (Path): The mmengine config of the baseline.
        primary (str): Primary metric.
        data_root (str | None): Takes the place of the config's ``data_root``.
        options (dict): Overrides of the config, as in ``--cfg-options``.
        initial_weights (str | dict): ``'scratch'``, ``'config'`` (what ``config`` says),
            ``dict(checkpoint=...)`` or ``dict(task=...)``.
        iters (int | None): Iterations; None takes the study's budget.
        gpus (int): GPUs of each run; the batch of the config is dealt out to them.
        folds (int): Group folds that the seeds test on in turn; 0 for the splits of the data set.
        tile (Tiling | None): How larger test pictures are cut; None: they are seen whole.
    """

    key: str
    kind: TaskKind
    config: Path
    primary: str
    data_root: str | None
    options: dict
    initial_weights: Any
    iters: int | None
    gpus: int = 1
    folds: int = 0
    tile: Tiling | None = None

    @property
    def source(self) -> str | None:
        """The task whose networks this one starts from."""
        weights = self.initial_weights
        return weights.get('task') if isinstance(weights, dict) else None

    @property
    def validation_metric(self) -> tuple[str, float]:
        """Name of the primary metric in the evaluator's output, and its factor to per cent."""
        return PRIMARY[self.kind][self.primary]


def parse_task(key: str, task: dict, weights: Any, folder: Path) -> Task:
    """One entry of ``tasks``."""
    known = ('kind', 'config', 'primary', 'data_root', 'options', 'initial_weights')
    allow(task, (*known, 'iters', 'gpus', 'splits', 'tile'), f'task {key}')
    kind = task.get('kind')
    if kind not in TASK_KINDS:
        raise StudyError(
            f'task {key} has the kind {kind!r}; choose from {", ".join(TASK_KINDS)}'
            f'{did_you_mean(kind, TASK_KINDS)}'
        )
    primary = task.get('primary', next(iter(PRIMARY[kind])))
    if primary not in PRIMARY[kind]:
        raise StudyError(
            f'task {key}: primary={primary!r} is no metric of {kind}; '
            f'choose from {", ".join(PRIMARY[kind])}'
        )
    weights = task.get('initial_weights', 'scratch' if weights == {'task': key} else weights)
    check_weights(key, weights)
    return Task(
        key=key,
        kind=kind,
        config=find_task_config(key, task.get('config'), folder),
        primary=primary,
        data_root=parse_root(key, task.get('data_root')),
        options=parse_options(key, task.get('options', {})),
        initial_weights=weights,
        iters=positive(task.get('iters'), f'task {key}: iters'),
        gpus=positive(task.get('gpus', 1), f'task {key}: gpus') or 1,
        folds=parse_folds(task.get('splits'), f'task {key}'),
        tile=parse_tile(task.get('tile'), kind, f'task {key}'),
    )


def parse_options(key: str, options: Any) -> dict:
    """Overrides of a task's config."""
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise StudyError(
            f'task {key}: options={options!r}; give a dict such as '
            "{'train_cfg.val_interval': 100}"
        )
    return options


def parse_root(key: str, root: Any) -> str | None:
    """The folder of a task's data."""
    if root is not None and not (isinstance(root, str) and root.strip()):
        raise StudyError(f'task {key}: data_root={root!r}; give the path of a folder')
    return root


def find_task_config(key: str, config: Any, folder: Path) -> Path:
    """A task's config: beside the study file, or a shipped one by its name."""

    if not isinstance(config, str):
        raise StudyError(f'task {key}: config is {config!r}; give the path of an mmengine config')
    if (folder / config).is_file():
        return (folder / config).resolve()
    try:
        return find_config(config).resolve()
    except InputError as error:
        raise StudyError(f'task {key}: {error}') from error


def check_weights(key: str, weights: Any) -> None:
    """``'scratch'``, ``'config'``, or a dict with either a checkpoint or a task."""
    if weights in ('scratch', 'config'):
        return
    if not isinstance(weights, dict) or set(weights) not in ({'checkpoint'}, {'task'}):
        raise StudyError(
            f"task {key}: initial_weights={weights!r}; choose from 'scratch', 'config', "
            "dict(checkpoint='FILE') and dict(task='NAME of a classification task')"
        )
    (source,) = weights.values()
    if not isinstance(source, str) or not source:
        raise StudyError(f'task {key}: initial_weights={weights!r}; its value must be text')
    file = weights.get('checkpoint')
    if file and '://' not in file and not Path(file).is_file():
        raise StudyError(f'task {key}: the checkpoint {file} of initial_weights does not exist')


def in_order(tasks: dict[str, Task]) -> dict[str, Task]:
    """Tasks that others start from first."""
    for task in tasks.values():
        source = tasks.get(task.source) if task.source else None
        if task.source and (source is None or source is task or source.source):
            raise StudyError(
                f'task {task.key} starts from the task {task.source!r}; it must be another task '
                f'of this study that starts from scratch or a checkpoint'
                f'{did_you_mean(task.source, tasks)}'
            )
    return dict(sorted(tasks.items(), key=lambda item: item[1].source is not None))
