"""From a study to its runs: what is trained, in which folder, after what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from .spec import Study
from .tasks import Task

__all__ = ['STAGES', 'Run', 'Stage', 'plan_runs']

#: Kinds of runs: timing tells the iterations of a budget in minutes, a trial scores one learning
#: rate on the validation split, a main run is what the study is about.
Stage = Literal['timing', 'trial', 'main']
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class Run:
    """One training.

    Args:
        stage (Stage): What kind of run it is.
        task (str): Key of the task.
        arm (str): Key of the arm.
        seed (int): Seed.
        lr (float | None): Learning rate of a trial; None for the task's own or the chosen one.
        needs (tuple[str, ...]): Keys of the runs that have to be done before.
    """

    stage: Stage
    task: str
    arm: str
    seed: int
    lr: float | None = None
    needs: tuple[str, ...] = field(default=(), compare=False)

    @property
    def key(self) -> str:
        """Unique name, and folder below the study's folder."""
        if self.stage == 'main':
            return f'runs/{self.task}/{self.arm}/seed{self.seed}'
        if self.stage == 'trial':
            return f'trials/{self.task}/{self.arm}/lr{self.lr:g}/seed{self.seed}'
        return f'timing/{self.task}/{self.arm}'

    def __str__(self) -> str:
        name = f'{self.task}, {self.arm}, seed {self.seed}'
        if self.stage == 'trial':
            return f'{name}, trial of lr {self.lr:g}'
        return f'{name}, timing' if self.stage == 'timing' else name


def plan_runs(study: Study, timing: bool | None = None) -> list[Run]:
    """List the runs, in an order in which they can be done.

    The first seed of every task and arm comes before the second, so that a study that is stopped
    early has complete pairs.

    Args:
        study (Study): The study.
        timing (bool | None): Whether to time every task and arm first; None where the budget needs
            it.
    """
    timing = study.budget.minutes is not None if timing is None else timing
    timings, trials, mains = [], [], []
    for task in study.tasks.values():
        for arm in study.arms_of(task.key):
            before: tuple[str, ...] = ()
            if timing:
                run = Run('timing', task.key, arm, study.seeds[0])
                timings.append(run)
                before = (run.key,)
            for lr in study.learning_rates.grid:
                for seed in study.learning_rates.seeds:
                    needs = before + networks_of(study, task, arm, study.seeds[0])
                    trials.append(Run('trial', task.key, arm, seed, lr, needs))
    for seed in study.seeds:
        for task in study.tasks.values():
            for arm in study.arms_of(task.key):
                needs = tuple(
                    run.key for run in timings + trials if (run.task, run.arm) == (task.key, arm)
                )
                needs += networks_of(study, task, arm, seed)
                mains.append(Run('main', task.key, arm, seed, needs=needs))
    return timings + trials + mains


def networks_of(study: Study, task: Task, arm: str, seed: int) -> tuple[str, ...]:
    """The runs whose networks one takes: of the task it starts from, and of its teacher."""
    about, found = study.arms[arm], []
    if task.source is not None:
        found.append(Run('main', task.source, about.initial_arm or arm, seed).key)
    if about.teacher is not None:
        found.append(Run('main', task.key, about.teacher.arm, seed).key)
    return tuple(found)
