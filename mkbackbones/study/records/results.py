"""What a study produces and what statistics and reports read: plain data, no training code.

On disk, below the study's folder::

    study.json                                   StudyInfo
    runs/<task>/<arm>/seed<k>/result.json        RunResult of a finished run
    runs/<task>/<arm>/seed<k>/evidence.npz       per-image evidence on the test split
    runs/<task>/<arm>/seed<k>/config.json        its config as data; config.py is for the worker
    runs/<task>/<arm>/seed<k>/run.json           what the ledger knows of it
    runs/<task>/<arm>/seed<k>/predictions/       what a report draws: <image stem>.json or .png
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import written_aside
from ..define.arms import takes_part
from ..define.precision import Plan
from .run_folder import About, read_object

if TYPE_CHECKING:
    from ..define.arms import Role
    from ..define.tasks import TaskKind

__all__ = ['ArmInfo', 'RunResult', 'StudyInfo', 'StudyResults', 'TaskInfo', 'load_results']


@dataclass
class TaskInfo:
    """One task of a study.

    Args:
        kind (TaskKind): What it is.
        primary (str): Name of the primary metric, a key of ``RunResult.metrics``, e.g. ``'AP'``.
        classes (list[str]): Class names; segmentation has the background first.
        num_images (dict[str, int]): Images by split; the mean over folds, where there are some.
        data_root (str): Folder of the data set.
        settings (dict[str, str]): Facts for a reader: schedule, batch size, augmentation.
        folds (int): Group folds that the seeds test on in turn; 0 where all test on one split.
        source (str | None): The task whose networks this one starts from.
    """

    kind: TaskKind
    primary: str
    classes: list[str]
    num_images: dict[str, int] = field(default_factory=dict)
    data_root: str = ''
    settings: dict[str, str] = field(default_factory=dict)
    folds: int = 0
    source: str | None = None


def fold_of(seeds: Sequence[int], seed: int, folds: int) -> int:
    """Which fold a seed tests on: its place among the seeds, modulo the number of folds.

    Args:
        seeds (Sequence[int]): Seeds of the study.
        seed (int): One of them.
        folds (int): Number of folds; 0 for none, where each seed stands for itself.
    """
    place = list(seeds).index(seed)
    return place % folds if folds else place


@dataclass
class ArmInfo:
    """One arm of a study.

    Args:
        label (str): Name for readers, e.g. ``'SpatialK, 8 charts'``.
        role (Role): ``'baseline'`` (exactly one arm), ``'control'`` or ``'candidate'``.
        backbone (dict): What the arm changes in ``model.backbone``.
        initial_arm (str | None): The arm whose networks it starts from, where it has none.
        teacher (dict | None): The arm whose networks it learns from, and the weights of the losses.
    """

    label: str
    role: Role = 'candidate'
    backbone: dict = field(default_factory=dict)
    initial_arm: str | None = None
    teacher: dict | None = None


@dataclass
class StudyInfo:
    """What was planned.

    Args:
        name (str): Name of the study.
        question (str): What it asks, one sentence.
        arms (dict[str, ArmInfo]): By key; the order is that of tables and plots.
        tasks (dict[str, TaskInfo]): By key, likewise.
        seeds (list[int]): Seeds of every arm and task.
        budget (str): What each run may spend, in words.
        initial_weights (str): Where the runs start from, in words.
        learning_rates (str): Shared, or chosen on the validation split from which grid, in words.
        fairness (list[str]): Sentences that hold for this study, for the report.
        environment (dict[str, str]): Versions, card, commit, data hashes.
        config (str): The study file's text.
        plan (Plan | None): What was decided before the first run; None where nothing was.
    """

    name: str
    question: str
    arms: dict[str, ArmInfo]
    tasks: dict[str, TaskInfo]
    seeds: list[int]
    budget: str = ''
    initial_weights: str = ''
    learning_rates: str = ''
    fairness: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    config: str = ''
    plan: Plan | None = None

    def fold_of(self, task: str, seed: int) -> int:
        """The fold that a seed tests on; without folds, a number of its own for each seed."""
        return fold_of(self.seeds, seed, self.tasks[task].folds)

    def by_fold(self, task: str, values: Mapping[int, float]) -> dict[int, float]:
        """Mean of the values of each fold's seeds; without folds, the values."""
        found: dict[int, list[float]] = {}
        for seed, value in values.items():
            found.setdefault(self.fold_of(task, seed), []).append(value)
        return {fold: statistics.fmean(mine) for fold, mine in found.items()}

    def arms_of(self, task: str) -> list[str]:
        """Keys of the arms that take part in a task."""
        chained = self.tasks[task].source is not None
        kind = self.tasks[task].kind
        return [key for key, arm in self.arms.items() if takes_part(arm, kind, chained)]

    @property
    def num_runs(self) -> int:
        """Main runs that are planned."""
        return len(self.seeds) * sum(len(self.arms_of(task)) for task in self.tasks)

    @property
    def looks(self) -> tuple[int, ...]:
        """Seeds at each planned look; none where there is one look, at the end."""
        return tuple(self.plan.looks) if self.plan else ()

    @property
    def baseline(self) -> str:
        """Key of the baseline arm."""
        return next(key for key, arm in self.arms.items() if arm.role == 'baseline')


@dataclass
class RunResult:
    """What one finished run left.

    Args:
        task (str): Key of the task.
        arm (str): Key of the arm.
        seed (int): Seed.
        metrics (dict[str, float]): Metrics on the test split, shares in per cent: ``AP``,
            ``AP50``, ``AP75`` and ``AP/<class>``; ``mIoU``, ``IoU/<class>``, ``F1/<class>``;
            ``top1``; ``recall@fa5`` and ``falsealarms@fa5`` (images with, and without, a
            defect above the score that 5 per cent of new defect-free images exceed), and ``fa1``,
            where validation has enough defect-free images.
        val_curve (list[list[float]]): ``[iteration, primary metric on validation]``.
        losses (list[float]): Training loss of each iteration.
        best_iteration (int): Iteration of the checkpoint that validation picked.
        lr (float): Learning rate.
        parameters (int): Parameters of the backbone.
        flops (int): Operations of the backbone for one image; a multiply-add counts as two.
        step_seconds (float): Median time of a training iteration, data loading included.
        train_seconds (float): Time of the training loop.
        inference_seconds (float): Median time of the model for one test image.
        peak_memory (int | None): Peak of the device's memory in bytes; None on a CPU.
        treatment (dict[str, float | str]): What the run's keys do, the entries of
            ``Treatment`` (study/worker/treatment.py) that are known; empty for a stock key.
        charts (dict[str, list[float]]): How its charts moved, where the config has ChartInfoHook:
            ``iteration`` and, at each, means over the blocks; empty otherwise.
        environment (dict[str, str]): Versions, card, commit, data hash of this run.
        folder (str): The run's folder, filled when read.
    """

    task: str
    arm: str
    seed: int
    metrics: dict[str, float]
    val_curve: list[list[float]]
    losses: list[float]
    best_iteration: int
    lr: float
    parameters: int
    flops: int
    step_seconds: float
    train_seconds: float
    inference_seconds: float
    peak_memory: int | None = None
    treatment: dict[str, float | str] = field(default_factory=dict)
    charts: dict[str, list[float]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = ''

    def save(self, path: Path) -> None:
        """Write the result as JSON, whole or not at all."""
        with written_aside(path) as work:
            work.write_text(json.dumps(asdict(self) | {'folder': ''}, indent=1), encoding='utf-8')


@dataclass
class StudyResults:
    """A study with its finished runs.

    Args:
        info (StudyInfo): What was planned.
        runs (list[RunResult]): Finished runs.
        failures (list[str]): One sentence for each run that failed or is missing.
    """

    info: StudyInfo
    runs: list[RunResult]
    failures: list[str] = field(default_factory=list)

    def of(self, task: str, arm: str) -> dict[int, RunResult]:
        """Finished runs of one task and arm, by seed."""
        return {run.seed: run for run in self.runs if (run.task, run.arm) == (task, arm)}


def load_results(folder: str | Path) -> StudyResults:
    """Read what is on disk; failures are the planned runs without a result.

    Args:
        folder (str | Path): The study's folder.

    Raises:
        FileNotFoundError: There is no study in the folder.
        ValueError: ``study.json`` is damaged.
    """
    folder = Path(folder)
    info = read_info(folder / 'study.json')
    runs, failures = [], []
    for task in info.tasks:
        for arm in info.arms_of(task):
            for seed in info.seeds:
                run = folder / 'runs' / task / arm / f'seed{seed}'
                try:
                    runs.append(read_result(run))
                except (FileNotFoundError, ValueError) as error:
                    reason = 'no result' if isinstance(error, FileNotFoundError) else error
                    failures.append(f'{task}, {arm}, seed {seed}: {reason}')
    info.fairness += where_in_words(runs)
    return StudyResults(info, runs, failures)


def where_in_words(runs: list[RunResult]) -> list[str]:
    """Which machine and card did what, where they were several."""
    places: dict[tuple[str, str], int] = {}
    devices: dict[tuple[str, int], set[str]] = {}
    for run in runs:
        about = About.read(Path(run.folder))
        machine = (about.machine if about else '') or 'the folder that others were merged into'
        device = str(run.environment.get('device', 'unknown'))
        places[machine, device] = places.get((machine, device), 0) + 1
        devices.setdefault((run.task, run.seed), set()).add(device)
    if len(places) < 2:
        return []
    told = '; '.join(
        f'{machine} ({device}) {count}' for (machine, device), count in sorted(places.items())
    )
    mixed = sum(len(found) > 1 for found in devices.values())
    sentences = [f'The runs were done in several places: {told}.']
    if mixed:
        sentences.append(
            f'In {mixed} of {len(devices)} seeds of a task, the arms were trained on different '
            'cards, whose arithmetic differs in the last digits, as another seed would.'
        )
    return sentences


def read_info(path: Path) -> StudyInfo:
    """Read ``study.json``.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path.parent} holds no study: {path.name} is missing')
    content = read_object(path)
    try:
        return parse_info(content or {})
    except (TypeError, KeyError, AttributeError, StopIteration) as error:
        raise ValueError(
            f'{path} is damaged; `study run` with the same --work-dir writes it again'
        ) from error


def parse_info(content: dict) -> StudyInfo:
    """The content of ``study.json``; it raises one of several errors where it is damaged."""
    content = dict(content)
    content['arms'] = {key: ArmInfo(**arm) for key, arm in content['arms'].items()}
    content['tasks'] = {key: TaskInfo(**task) for key, task in content['tasks'].items()}
    content['plan'] = Plan(**content['plan']) if content.get('plan') else None
    info = StudyInfo(**content)
    _ = info.baseline
    return info


def read_result(folder: Path) -> RunResult:
    """Read the result of a run.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged.
    """
    path = folder / 'result.json'
    if not path.is_file():
        raise FileNotFoundError(path)
    content = read_object(path)
    try:
        result = RunResult(**{**(content or {}), 'folder': str(folder)})
        numbers: list[Any] = [
            result.lr,
            result.step_seconds,
            result.train_seconds,
            *result.metrics.values(),
        ]
        numbers += [value for name, value in result.treatment.items() if name != 'off']
        numbers += [value for values in result.charts.values() for value in values]
        if len({len(values) for values in result.charts.values()}) > 1:
            raise TypeError('values of charts without an iteration')
        if result.treatment.get('off', 'scale') not in ('scale', 'linear'):
            raise TypeError('an unknown treatment')
        if not all(isinstance(number, int | float) for number in numbers):
            raise TypeError('no numbers')
        return result
    except (TypeError, AttributeError) as error:
        raise ValueError(f'{path} is damaged; `study run` does the run again') from error
