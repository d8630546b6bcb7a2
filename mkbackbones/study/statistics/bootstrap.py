"""Bootstrap of a task's test images by group, the same samples for every arm and seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..evidence import Evidence, load_evidence
from ..results import RunResult
from .paired import ImageGroups

__all__ = ['TaskBootstrap', 'load_task_evidence']

TOLERANCE = 0.1  # points; mmdet rounds its metrics to three digits


def load_task_evidence(runs: list[RunResult]) -> dict[tuple[str, int], Evidence]:
    """Evidence of a task's runs by arm and seed; empty unless every run left some."""
    paths = {(run.arm, run.seed): Path(run.folder) / 'evidence.npz' for run in runs}
    if not all(run.folder for run in runs) or not all(path.is_file() for path in paths.values()):
        return {}
    return {key: load_evidence(path) for key, path in paths.items()}


class TaskBootstrap:
    """Metrics of a task's runs on resampled test sets.

    Args:
        evidence (dict[tuple[str, int], Evidence]): By arm and seed, at least one.
        classes (list[str]): Class names.
        num_resamples (int): Number of samples B.
        seed (int): Seed of the draws.

    Raises:
        ValueError: Two runs were not tested on the same images, or there is but one group.
    """

    def __init__(
        self,
        evidence: dict[tuple[str, int], Evidence],
        classes: list[str],
        num_resamples: int,
        seed: int,
    ) -> None:
        first = next(iter(evidence.values()))
        for (arm, number), other in evidence.items():
            if (other.images, other.groups) != (first.images, first.groups):
                raise ValueError(
                    f'{arm}, seed {number}, was tested on other images or groups than the other '
                    'runs of its task: test them all on one split'
                )
        _, group, sizes = np.unique(first.groups, return_inverse=True, return_counts=True)
        num_groups = len(sizes)
        if num_groups < 2:
            raise ValueError('all test images are of one group, which leaves nothing to resample')
        self.split = ImageGroups(num_groups, float(sizes.sum() ** 2 / (sizes**2).sum()))
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), num_resamples)
        weights = draws[:, group]
        self.full = {key: e.metrics(classes) for key, e in evidence.items()}
        self.resampled = {key: e.resampled(classes, weights) for key, e in evidence.items()}

    def check(self, runs: list[RunResult], metric: str) -> None:
        """Raise ValueError if a run's metric is not that of its evidence."""
        for run in runs:
            value = self.full[run.arm, run.seed].get(metric)
            if value is not None and abs(value - run.metrics[metric]) > TOLERANCE:
                raise ValueError(
                    f'{run.task}, {run.arm}, seed {run.seed}: evidence.npz gives {metric} '
                    f'{value:.2f}, result.json {run.metrics[metric]:.2f}: one of them is of '
                    'another run; run it again'
                )

    def differences(
        self, arm: str, reference: str, seeds: list[int], metric: str
    ) -> np.ndarray | None:
        """Differences by seed on the resampled test sets, (n, B); None without the metric."""
        if metric not in self.resampled[arm, seeds[0]]:
            return None
        return np.stack(
            [
                self.resampled[arm, seed][metric] - self.resampled[reference, seed][metric]
                for seed in seeds
            ]
        )
