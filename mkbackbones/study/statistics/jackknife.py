"""What the draw of the test images does to a metric: its values with one group left out.

Notation of docs/statistics.md: group g holds the share ``w`` of what a class has in the test
images, and ``S`` is the sum of the squares of the shares.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from ..evidence import Evidence, load_evidence
from ..records.results import RunResult
from .analysis import SplitGroups

__all__ = ['ImageGroups', 'TaskJackknife', 'describe_groups', 'load_task_evidence']

TOLERANCE = 0.1  # points; mmdet rounds its metrics to three digits
#: More groups than these are left out several at a time: the costs grow with their square.
MOST_GROUPS = 500


@dataclass
class ImageGroups:
    """How the test images of one metric are grouped.

    Args:
        scale (ndarray): What turns the change of the metric without a group into a part of the
            standard error, by group (or block of groups) that is left out.
        effective (float): Number of equally large groups that would weigh the same.
        df (float): Degrees of freedom of the variance that follows.
    """

    scale: np.ndarray
    effective: float
    df: float


def load_task_evidence(runs: list[RunResult]) -> dict[tuple[str, int], Evidence]:
    """Evidence of a task's runs by arm and seed; empty unless every run left some."""
    paths = {(run.arm, run.seed): Path(run.folder) / 'evidence.npz' for run in runs}
    if not all(run.folder for run in runs) or not all(path.is_file() for path in paths.values()):
        return {}
    return {key: load_evidence(path) for key, path in paths.items()}


@dataclass
class TaskJackknife:
    """Metrics of a task's runs with each group of test images left out.

    Args:
        num_groups (int): Groups of test images.
        groups (dict[str, ImageGroups]): How they are grouped, by metric.
        full (dict[tuple[str, int], dict[str, float]]): Metrics of all test images, by arm and seed.
        without (dict[tuple[str, int], dict[str, ndarray]]): The same with each group left out,
            (g,).
        good_images (int): Test images without a defect, 0 where the task knows of none.
        constant (set[tuple[str, int, str]]): Arm, seed and metric of what counts as 0 whatever the
            test images.
    """

    num_groups: int
    groups: dict[str, ImageGroups]
    full: dict[tuple[str, int], dict[str, float]]
    without: dict[tuple[str, int], dict[str, np.ndarray]]
    good_images: int = 0
    constant: set[tuple[str, int, str]] = field(default_factory=set)

    @classmethod
    def of(cls, evidence: dict[tuple[str, int], Evidence], classes: list[str]) -> TaskJackknife:
        """Leave out each group of the test images in turn.

        Args:
            evidence (dict[tuple[str, int], Evidence]): By arm and seed, at least one.
            classes (list[str]): Class names.

        Raises:
            ValueError: Two runs were not tested on the same images, or there is but one group.
        """
        first = next(iter(evidence.values()))
        for (arm, number), other in evidence.items():
            if (other.images, other.groups) != (first.images, first.groups):
                raise ValueError(
                    f'{arm}, seed {number}, was tested on other images or groups than the other '
                    'runs of its task: test them all on one split'
                )
        group = np.unique(first.groups, return_inverse=True)[1]
        num_groups = int(group.max()) + 1
        if num_groups < 2:
            raise ValueError('all test images are of one group, which leaves nothing to leave out')
        block = blocks_of(group)
        weights = first.image_weights(classes)
        kept = (block != np.arange(block.max() + 1)[:, None]).astype(np.int64)
        return cls(
            num_groups=num_groups,
            groups={name: image_groups(group, block, w) for name, w in weights.items()},
            full={key: e.metrics(classes) for key, e in evidence.items()},
            without={key: e.resampled(classes, kept) for key, e in evidence.items()},
            good_images=int((~getattr(first, 'defective', np.ones(1, bool))).sum()),
        )

    def set_constant(self, constant: set[tuple[str, int, str]]) -> None:
        """Say what counts as 0."""
        self.constant = constant

    def check(self, runs: list[RunResult], metric: str) -> None:
        """Raise ValueError if a run's metric is not that of its evidence."""
        for run in runs:
            value = self.full[run.arm, run.seed].get(metric)
            if (run.arm, run.seed, metric) in self.constant:
                continue
            if value is not None and abs(value - run.metrics[metric]) > TOLERANCE:
                raise ValueError(
                    f'{run.task}, {run.arm}, seed {run.seed}: evidence.npz gives {metric} '
                    f'{value:.2f}, result.json {run.metrics[metric]:.2f}: one of them is of '
                    'another run; run it again'
                )

    def influence(
        self, arm: str, reference: str, seeds: list[int], metric: str
    ) -> np.ndarray | None:
        """What each group does to the difference of each seed, (n, g), in points.

        The squares over groups sum up to the variance that the draw of the test images gives to
        the difference. None where the metric, or a test set without one group, lacks it.
        """
        if metric not in self.groups:
            return None
        rows = []
        for seed in seeds:
            own, other = (self.change(key, metric) for key in ((arm, seed), (reference, seed)))
            if own is None or other is None or np.isnan(own).any() or np.isnan(other).any():
                return None
            rows.append(own - other)
        return np.stack(rows) * self.groups[metric].scale

    def change(self, key: tuple[str, int], metric: str) -> np.ndarray | None:
        """Change of a run's metric with each group left out, (g,)."""
        if (*key, metric) in self.constant:
            return np.zeros(len(self.groups[metric].scale))
        if metric not in self.full[key]:
            return None
        return self.without[key][metric] - self.full[key][metric]


class Grouped(Protocol):
    """What leaves out groups, of one split or of folds."""

    groups: dict[str, ImageGroups]

    @property
    def num_groups(self) -> int: ...


def describe_groups(jackknife: Grouped, primary: str) -> SplitGroups:
    """Groups of the test images, and of the class that has the fewest effective ones."""
    of_metric = jackknife.groups.get(primary)
    by_class = {
        name.partition('/')[2]: groups.effective
        for name, groups in jackknife.groups.items()
        if '/' in name and groups.effective
    }
    worst = min(by_class, key=by_class.__getitem__, default='')
    effective = None if of_metric is None else of_metric.effective
    return SplitGroups(jackknife.num_groups, effective, worst, by_class.get(worst))


def blocks_of(group: np.ndarray) -> np.ndarray:
    """What is left out together: a group, or some drawn at random where there are very many."""
    num_groups = int(group.max()) + 1
    if num_groups <= MOST_GROUPS:
        return group
    dealt = np.random.default_rng(0).permutation(num_groups) % MOST_GROUPS
    return dealt[group]


def image_groups(group: np.ndarray, block: np.ndarray, weights: np.ndarray) -> ImageGroups:
    """How the images are grouped for a metric that is the mean over k classes.

    The change without a group of share w is ``w / (1 - w)`` times the distance of the group from
    the mean of all, which has the variance ``1 - 2 w + S`` times that of a group. So its square
    times ``(1 - w)^2 / (1 - 2 w + S)`` is an unbiased part of the variance for a mean of groups of
    any sizes; for g equal ones this is the jackknife's ``(g - 1) / g``.

    The variance is a sum of squares. Where groups have effects of their own, each counts as its
    share squared, and the sum has ``(sum W^2)^2 / sum W^4`` degrees of freedom; where single images
    have them, as its share, and there are ``1 / sum W^2 - 1``. Which of it holds is not known, and
    the geometric mean of the two covers in both (docs/statistics.md).

    Args:
        group (ndarray): Group of each image, (n,).
        block (ndarray): What is left out together, (n,).
        weights (ndarray): What each image weighs in each class, (n, k).
    """
    weights = weights[:, weights.sum(0) > 0]
    if not weights.shape[1]:
        return ImageGroups(np.ones(int(block.max()) + 1), 0.0, 0.0)
    weights = weights / weights.sum(0)
    effective = float(1 / (sums(group, weights).mean(1) ** 2).sum())
    share = sums(block, weights)
    squares = (share**2).sum(0)
    # A block that several classes have: by what it holds of each.
    total = np.maximum(share.sum(1), np.finfo(float).tiny)
    w, s = (share * share).sum(1) / total, (share * squares).sum(1) / total
    distance = 1 - 2 * w + s
    # A class that one block has alone leaves the mean with it: taken as it is.
    alone = distance < 1e-9
    factor = np.where(alone, 1.0, (1 - w) ** 2 / np.where(alone, 1.0, distance))
    overall = share.mean(1)
    by_images = max(float(1 / (overall**2).sum() - 1), 0.0)  # one group alone: 0, but for rounding
    by_groups = (overall**2).sum() ** 2 / (overall**4).sum()
    df = min(by_images, float(np.sqrt(by_images * by_groups)))
    return ImageGroups(np.sqrt(factor), effective, float(df))


def sums(group: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum of the weights by group, (g, k)."""
    found = np.zeros((int(group.max()) + 1, weights.shape[1]))
    np.add.at(found, group, weights)
    return found
