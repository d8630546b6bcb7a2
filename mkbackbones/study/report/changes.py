"""Two studies of the same tasks: what came out differently, and what was done differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..records.results import StudyInfo, StudyResults

__all__ = ['Change', 'changed_settings', 'changes', 'common_tasks']


@dataclass
class Change:
    """A number in two studies.

    Args:
        task (str): Key of the task.
        arm (str): Key of the arm.
        metric (str): Primary metric of the task.
        before (dict[int, float]): In the first study, by seed, or by fold.
        after (dict[int, float]): In the second one.
    """

    task: str
    arm: str
    metric: str
    before: dict[int, float]
    after: dict[int, float]

    @property
    def mean(self) -> float:
        """Mean of the second less mean of the first, in points."""
        return float(np.mean(list(self.after.values())) - np.mean(list(self.before.values())))

    def interval(self) -> tuple[float, float] | None:
        """Welch's 95 per cent interval of the mean; None with fewer than two seeds in either.

        The seeds of the two studies are taken as independent, and the test images as given.
        """
        before, after = list(self.before.values()), list(self.after.values())
        if min(len(before), len(after)) < 2:
            return None
        if np.ptp(before) == 0 and np.ptp(after) == 0:  # says nothing of chance
            return None
        found = stats.ttest_ind(after, before, equal_var=False).confidence_interval(0.95)
        return float(found.low), float(found.high)


def common_tasks(first: StudyInfo, second: StudyInfo) -> list[str]:
    """Tasks of both studies that the same metric decides.

    Raises:
        ValueError: There are none.
    """
    common = [
        task
        for task, about in first.tasks.items()
        if task in second.tasks and second.tasks[task].primary == about.primary
    ]
    if not common:
        told = (
            ', '.join(f'{task} ({about.primary})' for task, about in info.tasks.items())
            for info in (first, second)
        )
        raise ValueError(
            'the studies have no task in common that the same metric decides: the first one has '
            f'{next(told)}, the second one {next(told)}'
        )
    return common


def changes(
    first: StudyResults, second: StudyResults, tasks: list[str]
) -> tuple[list[Change], list[Change]]:
    """The primary metric of each arm, and its difference to the baseline, in both studies.

    Args:
        first (StudyResults): The first study.
        second (StudyResults): The second one.
        tasks (list[str]): Keys of the tasks to compare.

    Returns:
        tuple: Changes of the metric, and of the paired differences to each study's baseline; of
        the arms that both studies have.
    """
    metrics, gains = [], []
    for task in tasks:
        primary = first.info.tasks[task].primary
        for arm in first.info.arms:
            scores = [
                results.info.by_fold(
                    task, {seed: run.metrics[primary] for seed, run in of_arm.items()}
                )
                for results in (first, second)
                for of_arm in [results.of(task, arm)]
            ]
            if not all(scores):
                continue
            metrics.append(Change(task, arm, primary, *scores))
            if arm in (first.info.baseline, second.info.baseline):
                continue
            paired = [_gains(results, task, arm, primary) for results in (first, second)]
            if all(paired):
                gains.append(Change(task, arm, primary, *paired))
    return metrics, gains


def _gains(results: StudyResults, task: str, arm: str, metric: str) -> dict[int, float]:
    """Differences to the baseline by seed, or by fold."""
    baseline = results.of(task, results.info.baseline)
    gains = {
        seed: run.metrics[metric] - baseline[seed].metrics[metric]
        for seed, run in results.of(task, arm).items()
        if seed in baseline
    }
    return results.info.by_fold(task, gains)


def changed_settings(first: StudyInfo, second: StudyInfo) -> list[tuple[str, str, str]]:
    """What was planned differently for the tasks and arms of both: name, and value in either."""
    rows = []
    one, other = _settings(first, second), _settings(second, first)
    for name in {**one, **other}:
        values = one.get(name, 'none'), other.get(name, 'none')
        if values[0] != values[1]:
            rows.append((name, *values))
    return rows


def _settings(info: StudyInfo, other: StudyInfo) -> dict[str, str]:
    """Everything that a reader may want to compare to the other study, under a name."""
    found = {
        'baseline': info.baseline,
        'seeds': ', '.join(map(str, info.seeds)),
        'budget': info.budget,
        'initial weights': info.initial_weights,
        'learning rates': info.learning_rates,
    }
    for arm in [arm for arm in info.arms if arm in other.arms]:
        about = info.arms[arm]
        found |= _flat(f'arm {arm}: ', {'role': about.role} | about.backbone)
    for task in [task for task in info.tasks if task in other.tasks]:
        told = info.tasks[task]
        facts = {'kind': told.kind, 'decides': told.primary, 'classes': ', '.join(told.classes)}
        images = {f'{split} images': str(count) for split, count in told.num_images.items()}
        found |= _flat(f'task {task}: ', facts | images | told.settings)
    return found | info.environment


def _flat(path: str, content: Mapping) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= _flat(f'{path}{key}.', value)
        else:
            found[f'{path}{key}'] = str(value)
    return found
