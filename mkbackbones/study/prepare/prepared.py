"""A study checked against this machine: configs read, backbones built, data found and hashed."""

from __future__ import annotations

import copy
import gc
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mmengine.config import Config

from ...late_imports import bring_in
from ...runner.config_values import check_values, settle_loaders
from ...runner.errors import InputError
from ...runner.preflight import (
    check_classes,
    check_paths,
    check_scope,
    check_teachers,
    dataset_paths,
    iter_datasets,
)
from ..define.plan import Run
from ..define.spec import Study, StudyError
from ..define.tasks import Task
from ..records.results import ArmInfo, StudyInfo, TaskInfo, fold_of
from ..worker.processes import share_batch
from .backbones import BuiltBefore, check_backbones
from .configs import (
    baseline_backbone,
    read_task_config,
    run_config,
    same_split,
    start_checkpoint,
)
from .data_sets import DataSets, build_data_sets
from .description import describe_task
from .fingerprint import (
    code_version,
    config_hash,
    data_hash,
    library_versions,
    weights_hash,
)
from .folds import Folds, check_chains, make_folds
from .iterations import (
    count_iterations,
    for_main_runs,
    planned_iterations,
    stretched_in_words,
)
from .sentences import budget_in_words, fairness, rates_in_words, weights_in_words
from .split_checks import check_splits, image_names
from .tiles import check_tiles, tiles_note

__all__ = ['PreparedStudy', 'prepare_study']


@dataclass
class PreparedStudy:
    """A study that can run here.

    Args:
        study (Study): What its file says.
        configs (dict[str, Config]): Config of each task's baseline.
        tasks (dict[str, TaskInfo]): What a report tells about each task.
        data (dict[str, str]): Hash of each task's data.
        notes (list[str]): What the user should know before anything runs, and the reader after.
        folds (dict[str, Folds]): Of the tasks whose seeds test on folds.
    """

    study: Study
    configs: dict[str, Config]
    tasks: dict[str, TaskInfo]
    data: dict[str, str]
    notes: list[str] = field(default_factory=list)
    folds: dict[str, Folds] = field(default_factory=dict)

    def config(
        self,
        run: Run,
        iters: int | None = None,
        lr: float | None = None,
        source: str | None = None,
        folder: Path | None = None,
        teacher: str | None = None,
    ) -> Config:
        """Complete config of a run, with the entry ``study`` for its worker.

        It reads the lists of the run's fold below ``folder``, that of the study; without one, as
        where speed alone is measured, the splits of the data set. A teacher has the weights of the
        checkpoint ``teacher``; without one, likewise, those that it is built with.
        """
        study, task = self.study, self.study.tasks[run.task]
        planned = None
        if run.stage == 'trial':
            planned = self.planned_iterations(Run('main', run.task, run.arm, run.seed))
        cfg = run_config(
            *(self.configs[run.task], task, study.arms[run.arm], run, iters, lr or run.lr),
            *(source, planned),
        )
        if folder is not None and task.folds:
            self.folds[run.task].apply(cfg, folder, self.fold_of(run))
        start = cfg.model.backbone.get('init_cfg')
        if study.trusted and start and cfg.model.backbone.type.startswith('mkbackbones.'):
            start.trusted = True
        metric, factor = task.validation_metric
        cfg.study = dict(
            stage=run.stage,
            task=run.task,
            arm=run.arm,
            seed=run.seed,
            kind=task.kind,
            metric=metric,
            primary=task.primary,
            factor=factor,
            data_root=self.tasks[run.task].data_root,
            baseline_backbone=baseline_backbone(self.configs[run.task], task, study.baseline),
            share_backbone=task.source is None,
            trusted=study.trusted,
            gpus=task.gpus,
            fold=run.arm in study.initial_arms
            and run.task in {t.source for t in study.tasks.values()},
            tile=task.tile and dict(size=task.tile.tile, overlap=task.tile.overlap),
            teacher=self.teacher(run, teacher),
            environment=self.environment(run.task),
        )
        return cfg

    def teacher(self, run: Run, checkpoint: str | None) -> dict | None:
        """What a worker builds the teacher of a run from; None for an arm without one."""
        task, about = self.study.tasks[run.task], self.study.arms[run.arm].teacher
        if about is None:
            return None
        cfg = run_config(self.configs[run.task], task, self.study.arms[about.arm], run)
        cfg.model.backbone.init_cfg = None  # its weights are those of its own run
        return dict(
            model=cfg.model,
            default_scope=cfg.get('default_scope'),
            checkpoint=checkpoint,
            losses=about.losses_of(task.kind),
        )

    def fold_of(self, run: Run) -> int:
        """The fold that a run tests on."""
        return fold_of(self.study.seeds, run.seed, self.study.tasks[run.task].folds)

    def write_folds(self, folder: Path) -> None:
        """Write the lists of all folds below the study's folder."""
        for found in self.folds.values():
            found.write(folder)

    def environment(self, task: str | None = None) -> dict[str, str]:
        """Versions, code and data, of one task or of all."""
        data = {f'data of {key}': value for key, value in self.data.items() if task in (None, key)}
        return {**library_versions(), **code_version(), **data}

    def fingerprint(self, run: Run) -> dict[str, str]:
        """What a run depends on. Chosen learning rates follow from other runs, so from the grid."""
        task = self.study.tasks[run.task]
        iters = self.planned_iterations(run)
        cfg = self.config(run, iters, source='the same arm and seed')
        for_worker = cfg.pop('study')
        environment = for_worker['environment']
        rates = self.study.learning_rates
        cfg.study_grid = (
            dict(grid=rates.grid, seeds=rates.seeds, iters=rates.iters)
            if run.stage == 'main' and rates.grid
            else None
        )
        if for_worker.teacher is not None:
            cfg.study_teacher = for_worker.teacher
        if task.gpus > 1:
            cfg.study_gpus = task.gpus
        if task.tile is not None:
            cfg.study_tile = for_worker.tile
        cfg.study_minutes = self.study.budget.minutes
        cfg.study_baseline = baseline_backbone(
            self.configs[run.task], task, self.study.baseline
        ).to_dict()
        versions = ' '.join(f'{k} {v}' for k, v in library_versions().items())
        if task.source:
            initial_arm = self.study.arms[run.arm].initial_arm
            source = self.fingerprint(Run('main', task.source, initial_arm or run.arm, run.seed))
            weights = ' '.join(source.values()) + (', folded' if initial_arm else '')
        else:
            checkpoint = start_checkpoint(self.configs[run.task], task)
            weights = weights_hash(checkpoint) if checkpoint else 'none'
        found = {
            'initial weights': weights,
            'config': config_hash(cfg, self.tasks[run.task].data_root),
            'code': environment['code'],
            'data': self.data[run.task],
            'versions': versions,
        }
        if (teacher := self.study.arms[run.arm].teacher) is not None:
            seed = run.seed if run.stage == 'main' else self.study.seeds[0]
            taught = self.fingerprint(Run('main', run.task, teacher.arm, seed))
            found['teacher'] = ' '.join(taught.values())
        if task.folds:
            fold = self.fold_of(run)
            found['fold'] = f'{fold} of {task.folds}, {self.folds[run.task].mark(fold)}'
        return found

    def planned_iterations(self, run: Run) -> int | None:
        """Iterations of a run as far as the study file tells; None for what a timing tells."""
        return planned_iterations(self.study, run, self.configs[run.task])

    def info(self) -> StudyInfo:
        """What a report tells about the study."""
        study = self.study
        main = {key: for_main_runs(study, key, cfg)[0] for key, cfg in self.configs.items()}
        return StudyInfo(
            name=study.name,
            question=study.question,
            arms={
                key: ArmInfo(
                    arm.label,
                    arm.role,
                    arm.backbone,
                    arm.initial_arm,
                    asdict(arm.teacher) if arm.teacher else None,
                )
                for key, arm in study.arms.items()
            },
            tasks=self.tasks,
            seeds=study.seeds,
            budget=budget_in_words(study, self.configs),
            initial_weights=weights_in_words(study, self.configs),
            learning_rates=rates_in_words(study, self.configs),
            fairness=fairness(study, main) + [f'{note}.' for note in self.notes],
            environment=self.environment(),
            config=study.text,
            plan=study.plan
            and study.plan.hashed(
                arms={
                    key: [
                        arm.role,
                        repr(arm.backbone),
                        *([arm.initial_arm] * bool(arm.initial_arm)),
                        *([repr(arm.teacher)] * bool(arm.teacher)),
                    ]
                    for key, arm in study.arms.items()
                },
                primary={key: task.primary for key, task in study.tasks.items()},
                seeds=study.seeds,
            ),
        )


def prepare_study(
    study: Study, note: Callable[[str], None] = lambda text: None, verify: bool = False
) -> PreparedStudy:
    """Check everything that can be checked before a run starts.

    Args:
        study (Study): What the study file says.
        note (Callable): Told what is being done, for a status line.
        verify (bool): Hash data again whose files have not changed since they were hashed.

    Raises:
        StudyError: A config, a backbone or data are not what the study needs.
        Needed: The command has to start again for what a config names.
    """
    configs, tasks, data, notes, folds = {}, {}, {}, [], {}
    data_sets, built = DataSets(), BuiltBefore()
    finite: set[str] = set()
    bring_in(study.arms)
    for task in study.tasks.values():
        note(f'checking task {task.key}')
        cfg = configs[task.key] = read_task_config(task)
        check_data(study, task, cfg, finite)
        gc.freeze()  # what was imported stays, and each data set of mmengine collects garbage
        check_backbones(study, task, cfg, built)
        datasets = data_sets.of(task, cfg)
        info = tasks[task.key] = describe_task(task, cfg, datasets)
        if task.folds:
            note(f'dealing the images of task {task.key} to folds')
            found = folds[task.key] = make_folds(task, cfg, datasets, info.data_root)
            notes += found.check(len(study.seeds))
            info.num_images, info.folds = found.num_images(), task.folds
            info.settings['splits'] = found.in_words()
            check_lists(task, cfg, found)
        else:
            count = data_sets.count_classes
            notes += check_splits(task.key, task.kind, datasets, info.data_root, count)
        notes += tiles_note(task, datasets['test'])
        count_iterations(cfg, info.num_images['train'])
        main, stretched = for_main_runs(study, task.key, cfg)
        notes += stretched_in_words(study, task.key, stretched)
        check_selection(study, task, main)
    built.remember()
    check_chains(study, {key: info.data_root for key, info in tasks.items()}, folds)
    for key, info in tasks.items():
        note(f'hashing the data of task {key}')
        roots = data_roots(info.data_root, configs[key])
        data[key] = data_hash(*roots, verify=verify) if roots else 'not hashed'
        if key in folds:
            folds[key].data = data[key]
    return PreparedStudy(study, configs, tasks, data, notes, folds)


def data_roots(root: str, cfg: Config) -> list[str]:
    """The folder of a task's data, and what its splits read from elsewhere."""

    paths: set[str] = set()
    for split in ('train', 'val', 'test'):
        for dataset in iter_datasets(cfg[f'{split}_dataloader'].dataset):
            if not dataset.get('backend_args'):  # with them, it is not on this file system
                paths.update(list(dataset_paths(dataset)) or [dataset.get('data_root') or root])
    paths = {path for path in paths if path and Path(path).exists()}
    inside = Path(root) if root else None
    outside = {path for path in paths if not (inside and Path(path).is_relative_to(inside))}
    return ([root] if root else []) + sorted(outside)


def check_data(study: Study, task: Task, cfg: Config, finite: set[str]) -> None:
    """Raise StudyError unless the files that a config names are there and can be read.

    Args:
        study (Study): The study.
        task (Task): The task.
        cfg (Config): Its config.
        finite (set[str]): Checkpoints that were found to be finite; more are added.
    """
    try:
        check_scope(cfg, task.config)
        check_paths(cfg, ('train', 'val', 'test'))
        check_classes(cfg, ('train', 'val', 'test'))
        check_values(cfg)
        check_teachers(cfg)
        check_tiles(task, cfg)
        settle_loaders(cfg)
        for checkpoint in {start_checkpoint(cfg, task), cfg.get('load_from')} - finite - {None}:
            check_finite(checkpoint, study.trusted)
            finite.add(checkpoint)
    except InputError as error:
        raise StudyError(f'task {task.key}: {error}') from error
    try:
        share_batch(copy.deepcopy(cfg), task.gpus)
    except ValueError as error:
        raise StudyError(f'task {task.key}, gpus={task.gpus}: {error}') from error


def check_finite(checkpoint: str, trusted: bool) -> None:
    """Raise InputError if weights in a local file are not finite: every run would diverge."""
    from ...checkpoints.report import CheckpointError
    from ...checkpoints.source import read_source
    from ...checkpoints.tensors import not_finite

    if '://' in checkpoint:
        return
    try:
        names = not_finite(read_source(checkpoint, trusted))
    except (CheckpointError, FileNotFoundError) as error:
        raise InputError(error) from error
    if names:
        raise InputError(
            f'checkpoint {checkpoint} holds values that are not finite (NaN or infinite) in '
            f'{len(names)} entries, e.g. {names[0]}'
        )


def check_selection(study: Study, task: Task, cfg: Config) -> None:
    """Raise StudyError if anything would be picked on the images of the test split."""
    if task.folds or not same_split(cfg):
        return
    picks = cfg.train_cfg.get('val_interval', 1) < cfg.train_cfg.max_iters
    if picks or study.learning_rates.grid:
        raise StudyError(
            f'task {task.key}: the val and the test split of config {task.config.name} are the '
            'same, so the test would not be one; hold a val split out of the train split, or set '
            "options={'train_cfg.val_interval': VERY_MANY} and no learning_rates, so that the "
            'last weights are tested'
        )


def check_lists(task: Task, cfg: Config, folds: Folds) -> None:
    """Raise StudyError unless the data sets of a task read lists as they are meant."""
    with tempfile.TemporaryDirectory(prefix='mkbackbones-folds-') as folder:
        folds.write(Path(folder), [0])
        cfg = copy.deepcopy(cfg)
        folds.apply(cfg, Path(folder), 0)
        datasets = build_data_sets(task, cfg)
        names = {split: image_names(datasets[split], task.kind) for split in ('val', 'test')}
    for split, found in names.items():
        wanted = [folds.pool.names[index] for index in folds.splits[0][split]]
        if sorted(found) != sorted(wanted):
            raise StudyError(
                f'task {task.key}: of {len(wanted)} images that a fold lists for {split}, its data '
                f'set reads {len(found)}, so that folds cannot be told from what was tested; leave '
                'splits out'
            )
