"""A study file: what it may say, read and checked before any long work."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...arguments import is_number
from .arms import Arm, check_arms, check_parts, parse_arm, takes_part
from .entries import (
    StudyError,
    allow,
    entries,
    folder_name,
    parse_flag,
    positive,
    text,
)
from .precision import Plan, parse_plan
from .tasks import Task, in_order, parse_task

__all__ = ['Arm', 'Budget', 'LearningRates', 'Study', 'StudyError', 'read_study']


@dataclass(frozen=True)
class Budget:
    """What each run may spend; with neither, the iterations of the task's config.

    Args:
        iters (int | None): Iterations.
        minutes (float | None): Minutes of training; a timing run tells the iterations.
    """

    iters: int | None = None
    minutes: float | None = None


@dataclass(frozen=True)
class LearningRates:
    """How learning rates are set; without a grid, as the task's config says, for every arm alike.

    Args:
        grid (tuple[float, ...]): Learning rates to try for each task and arm.
        seeds (tuple[int, ...]): Seeds of the trials, none of them a seed of the study.
        iters (int | None): Iterations of a trial; None takes the budget.
    """

    grid: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    iters: int | None = None


@dataclass(frozen=True)
class Study:
    """A study as its file describes it.

    Args:
        name (str): Its name.
        question (str): What it asks.
        arms (dict[str, Arm]): Arms by key.
        tasks (dict[str, Task]): Tasks by key; one that others start from comes before them.
        seeds (list[int]): Seeds.
        budget (Budget): Budget of each run.
        learning_rates (LearningRates): Shared, or a grid.
        trusted (bool): Whether checkpoints may hold more than data, which can run code.
        text (str): The file's text.
        plan (Plan | None): Margins, power and looks that are decided before the first run.
    """

    name: str
    question: str
    arms: dict[str, Arm]
    tasks: dict[str, Task]
    seeds: list[int]
    budget: Budget = field(default_factory=Budget)
    learning_rates: LearningRates = field(default_factory=LearningRates)
    trusted: bool = False
    text: str = ''
    plan: Plan | None = None

    @property
    def baseline(self) -> Arm:
        """The baseline arm."""
        return next(arm for arm in self.arms.values() if arm.role == 'baseline')

    def arms_of(self, task: str) -> list[str]:
        """Keys of the arms that take part in a task."""
        about = self.tasks[task]
        return [
            key
            for key, arm in self.arms.items()
            if takes_part(arm, about.kind, about.source is not None)
        ]

    @property
    def num_comparisons(self) -> int:
        """Arms and tasks that are compared with the baseline."""
        return sum(len(self.arms_of(task)) - 1 for task in self.tasks)

    @property
    def initial_arms(self) -> set[str]:
        """Arms whose networks others start from."""
        return {arm.initial_arm for arm in self.arms.values() if arm.initial_arm}


def read_study(path: str | Path) -> Study:
    """Read a study file, a plain mmengine config.

    Args:
        path (str | Path): The file.

    Returns:
        Study: What it says.

    Raises:
        StudyError: The file says something that no study can do.
    """
    from mmengine.config import Config

    path = Path(path)
    if not path.is_file():
        raise StudyError(f'study file {path} does not exist')
    try:
        content = Config.fromfile(path).to_dict()
    except Exception as error:  # a config is a program: it may raise anything
        raise StudyError(f'study file {path}: {type(error).__name__}: {error}') from error
    return parse_study(content, path)


def parse_study(content: dict, path: Path) -> Study:
    """Check the content of a study file; ``path`` gives its name and where its paths start.

    Raises:
        StudyError: An entry is unknown, missing or impossible.
    """
    content = {key: value for key, value in content.items() if key != 'custom_imports'}
    allow(
        content,
        ('name', 'question', 'arms', 'tasks', 'seeds')
        + ('initial_weights', 'budget', 'learning_rates', 'trusted', 'plan'),
        'the study',
    )
    seeds = parse_seeds(content.get('seeds'), 'seeds')
    arms = {key: parse_arm(key, arm) for key, arm in entries(content, 'arms')}
    check_arms(arms)
    weights = content.get('initial_weights', 'scratch')
    tasks = {
        key: parse_task(key, task, weights, path.parent) for key, task in entries(content, 'tasks')
    }
    tasks = in_order(tasks)
    check_parts(arms, tasks)
    return Study(
        name=folder_name(text(content, 'name', path.stem, 'the study'), 'name'),
        question=text(content, 'question', 'Does the manifold key help?', 'the study'),
        arms=arms,
        tasks=tasks,
        seeds=seeds,
        budget=parse_budget(content.get('budget')),
        learning_rates=parse_learning_rates(content.get('learning_rates'), seeds, tasks),
        trusted=parse_flag(content.get('trusted', False), 'trusted'),
        text=path.read_text(encoding='utf-8') if path.is_file() else '',
        plan=parse_plan(content.get('plan'), list(tasks), seeds),
    )


def parse_seeds(seeds: Any, where: str) -> list[int]:
    """A list of different whole numbers."""
    if not isinstance(seeds, list | tuple) or not seeds:
        raise StudyError(f'{where}={seeds!r}; give a list of whole numbers, e.g. [0, 1, 2, 3, 4]')
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise StudyError(f'{where} holds {seed!r}; a seed is a whole number from 0')
        if list(seeds).count(seed) > 1:
            raise StudyError(f'{where} holds {seed} twice; each seed may occur once')
    return list(seeds)


def parse_budget(budget: Any) -> Budget:
    """``dict(iters=...)`` or ``dict(minutes=...)``."""
    if budget is None:
        return Budget()
    if not isinstance(budget, dict) or set(budget) not in ({'iters'}, {'minutes'}):
        raise StudyError(
            f'budget={budget!r}; give dict(iters=NUMBER) or dict(minutes=NUMBER), or leave it out '
            "for what the tasks' configs say"
        )
    if 'iters' in budget:
        return Budget(iters=positive(budget['iters'], 'budget.iters'))
    minutes = budget['minutes']
    if not is_number(minutes) or not 0 < minutes < math.inf:
        raise StudyError(f'budget.minutes={minutes!r}; it must be a number above 0')
    return Budget(minutes=float(minutes))


def parse_learning_rates(rates: Any, seeds: list[int], tasks: dict[str, Task]) -> LearningRates:
    """``dict(grid=[...], seeds=[...], iters=...)``."""
    if rates is None:
        return LearningRates()
    if not isinstance(rates, dict) or not {'grid', 'seeds'} <= set(rates):
        raise StudyError(
            f'learning_rates={rates!r}; give dict(grid=[1e-4, ...], seeds=[100, ...]), or leave it '
            "out for the one that a task's config names"
        )
    allow(rates, ('grid', 'seeds', 'iters'), 'learning_rates')
    folded = next((task.key for task in tasks.values() if task.folds), None)
    if folded:
        raise StudyError(
            f'task {folded} has folds, so that what a trial of learning_rates picks on is what '
            'another seed tests on; set the learning rate in options, or leave splits out'
        )
    grid = rates['grid']
    if (
        not isinstance(grid, list | tuple)
        or not all(is_number(lr) and 0 < lr < math.inf for lr in grid)
        or len(set(grid)) < max(len(grid), 2)
    ):
        raise StudyError(
            f'learning_rates.grid={grid!r}; give two or more different numbers above 0'
        )
    trial_seeds = parse_seeds(rates['seeds'], 'learning_rates.seeds')
    shared = sorted(set(trial_seeds) & set(seeds))
    if shared:
        raise StudyError(
            f'learning_rates.seeds holds {shared[0]}, which is a seed of the study: a run whose '
            'validation score chose its own learning rate is no fair sample; take another seed'
        )
    iters = positive(rates.get('iters'), 'learning_rates.iters')
    return LearningRates(tuple(float(lr) for lr in grid), tuple(trial_seeds), iters)
