"""A study checked against this machine: configs read, backbones built, data found and hashed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope, init_default_scope

from .configs import (
    baseline_backbone,
    count_iterations,
    read_task_config,
    run_config,
    same_split,
)
from .fingerprint import code_version, config_hash, data_hash, library_versions
from .plan import Run
from .results import ArmInfo, StudyInfo, TaskInfo
from .sentences import budget_in_words, fairness, rates_in_words, weights_in_words
from .spec import Study, StudyError, Task

__all__ = ['PreparedStudy', 'prepare_study']


@dataclass
class PreparedStudy:
    """A study that can run here.

    Args:
        study (Study): What its file says.
        configs (dict[str, Config]): Config of each task's baseline.
        tasks (dict[str, TaskInfo]): What a report tells about each task.
        data (dict[str, str]): Hash of each task's data.
    """

    study: Study
    configs: dict[str, Config]
    tasks: dict[str, TaskInfo]
    data: dict[str, str]

    def config(
        self,
        run: Run,
        iters: int | None = None,
        lr: float | None = None,
        source: str | None = None,
    ) -> Config:
        """Complete config of a run, with the entry ``study`` for its worker."""
        study, task = self.study, self.study.tasks[run.task]
        cfg = run_config(
            self.configs[run.task], task, study.arms[run.arm], run, iters, lr or run.lr, source
        )
        metric, factor = task.validation_metric
        cfg.study = dict(
            stage=run.stage,
            task=run.task,
            arm=run.arm,
            seed=run.seed,
            kind=task.kind,
            metric=metric,
            factor=factor,
            data_root=self.tasks[run.task].data_root,
            baseline_backbone=baseline_backbone(self.configs[run.task], task, study.baseline),
            share_backbone=task.source is None,
            environment=self.environment(run.task),
        )
        return cfg

    def environment(self, task: str | None = None) -> dict[str, str]:
        """Versions, code and data, of one task or of all."""
        data = {f'data of {key}': value for key, value in self.data.items() if task in (None, key)}
        return {**library_versions(), **code_version(), **data}

    def fingerprint(self, run: Run) -> dict[str, str]:
        """What a run depends on. Chosen learning rates follow from other runs, so from the grid."""
        task = self.study.tasks[run.task]
        iters = self.planned_iterations(run)
        cfg = self.config(run, iters, source='the same arm and seed')
        environment = cfg.pop('study')['environment']
        rates = self.study.learning_rates
        cfg.study_grid = (
            dict(grid=rates.grid, seeds=rates.seeds, iters=rates.iters)
            if run.stage == 'main' and rates.grid
            else None
        )
        cfg.study_minutes = self.study.budget.minutes
        cfg.study_baseline = baseline_backbone(
            self.configs[run.task], task, self.study.baseline
        ).to_dict()
        versions = ' '.join(f'{k} {v}' for k, v in library_versions().items())
        return {
            'config': config_hash(cfg, self.tasks[run.task].data_root),
            'code': environment['code'],
            'data': self.data[run.task],
            'versions': versions,
        }

    def planned_iterations(self, run: Run) -> int | None:
        """Iterations of a run as far as the study file tells; None for what a timing tells."""
        task, study = self.study.tasks[run.task], self.study
        if run.stage == 'trial' and study.learning_rates.iters:
            return study.learning_rates.iters
        if task.iters or study.budget.iters:
            return task.iters or study.budget.iters
        if study.budget.minutes:
            return None
        return self.configs[run.task].train_cfg.max_iters

    def info(self) -> StudyInfo:
        """What a report tells about the study."""
        study = self.study
        return StudyInfo(
            name=study.name,
            question=study.question,
            arms={
                key: ArmInfo(arm.label, arm.role, arm.backbone) for key, arm in study.arms.items()
            },
            tasks=self.tasks,
            seeds=study.seeds,
            budget=budget_in_words(study, self.configs),
            initial_weights=weights_in_words(study),
            learning_rates=rates_in_words(study, self.configs),
            fairness=fairness(study, self.configs),
            environment=self.environment(),
            config=study.text,
        )


def prepare_study(study: Study, note: Callable[[str], None] = lambda text: None) -> PreparedStudy:
    """Check everything that can be checked before a run starts.

    Args:
        study (Study): What the study file says.
        note (Callable): Told what is being done, for a status line.

    Raises:
        StudyError: A config, a backbone or data are not what the study needs.
    """
    configs, tasks, data = {}, {}, {}
    for task in study.tasks.values():
        note(f'checking task {task.key}')
        cfg = configs[task.key] = read_task_config(task)
        check_data(task, cfg)
        check_backbones(study, task, cfg)
        info = tasks[task.key] = describe_task(task, cfg)
        count_iterations(cfg, info.num_images['train'])
        check_selection(study, task, cfg)
    for key, info in tasks.items():
        note(f'hashing the data of task {key}')
        data[key] = data_hash(info.data_root) if info.data_root else 'not hashed'
    return PreparedStudy(study, configs, tasks, data)


def check_data(task: Task, cfg: Config) -> None:
    """Raise StudyError unless the files that a config names are there."""
    from ..commands.errors import CommandError
    from ..commands.preflight import check_paths, check_scope

    try:
        check_scope(cfg, task.config)
        check_paths(cfg, ('train', 'val', 'test'))
    except CommandError as error:
        raise StudyError(f'task {task.key}: {error}') from error


def check_selection(study: Study, task: Task, cfg: Config) -> None:
    """Raise StudyError if anything would be picked on the images of the test split."""
    if not same_split(cfg):
        return
    picks = cfg.train_cfg.get('val_interval', 1) < cfg.train_cfg.max_iters
    if picks or study.learning_rates.grid:
        raise StudyError(
            f'task {task.key}: the val and the test split of config {task.config.name} are the '
            'same, so the test would not be one; hold a val split out of the train split, or set '
            "options={'train_cfg.val_interval': VERY_MANY} and no learning_rates, so that the "
            'last weights are tested'
        )


def check_backbones(study: Study, task: Task, cfg: Config) -> None:
    """Raise StudyError unless the backbone of every arm can be built."""
    from ..commands.config_files import one_line

    init_default_scope(cfg.get('default_scope', 'mmengine'))
    for arm in study.arms.values():
        run = Run('main', task.key, arm.key, study.seeds[0])
        backbone = run_config(cfg, task, arm, run).model.backbone
        try:
            MODELS.build(backbone)
        except Exception as error:  # a backbone may raise anything
            raise StudyError(
                f'task {task.key}, arm {arm.key}: its backbone cannot be built: {one_line(error)}'
            ) from error


def describe_task(task: Task, cfg: Config) -> TaskInfo:
    """Build the data sets of a task and tell what they are."""
    from ..commands.config_files import one_line

    num_images = {}
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for split in ('train', 'val', 'test'):
            loader = cfg[f'{split}_dataloader']
            try:
                dataset = DATASETS.build(loader.dataset)
                num_images[split] = len(dataset)
            except Exception as error:  # a data set may raise anything
                raise StudyError(
                    f'task {task.key}: the {split} split cannot be read: {one_line(error)}'
                ) from error
            if not num_images[split]:
                raise StudyError(f'task {task.key}: the {split} split has no images')
    data = cfg.train_dataloader.dataset
    transforms = data.get('pipeline') or data.get('transforms') or []
    names = [step['type'] for step in transforms if not step['type'].startswith(('Load', 'Pack'))]
    settings = {
        'config': task.config.name,
        'batch size': str(cfg.train_dataloader.batch_size),
        'optimiser': cfg.optim_wrapper.optimizer.type,
        'precision': cfg.optim_wrapper.get('type', 'OptimWrapper'),
        'augmentation': ', '.join(names) or 'none',
    }
    if hasattr(dataset, 'split_rule'):
        settings['splits'] = dataset.split_rule
    classes = list((getattr(dataset, 'metainfo', None) or {}).get('classes') or [])
    root = cfg.get('data_root') or cfg.test_dataloader.dataset.get('data_root') or ''
    return TaskInfo(task.kind, task.primary, classes, num_images, root, settings)
