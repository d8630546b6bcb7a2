"""The mean of paired differences where seeds test on folds of the images in turn.

Notation of docs/statistics.md: n seeds, F folds that were tested, of k.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import special

from ..evidence import Evidence
from ..records.results import RunResult
from .jackknife import ImageGroups, TaskJackknife
from .paired import PairedMean, chi_square_range

__all__ = ['FoldedJackknife', 'FoldedMean', 'folded_mean']


@dataclass
class FoldedMean(PairedMean):
    """A mean over folds. Its variance is that of the folds' means, which hold all that differs.

    How much of it is due to test images matters for what more seeds would do alone: seeds beyond
    one round test images that are known already.

    Args:
        folds (int): Folds k that the images are dealt to.
        tested (float): Folds F that were tested, at least two.
    """

    folds: int = 2
    tested: float = 2

    @property
    def known_seed_df(self) -> float:
        return self.tested - 1 if self.seed_df is None else self.seed_df

    def critical(self, alpha: float) -> float:
        """Student's t over the folds."""
        if self.standard_error == 0:
            return 0.0
        return float(special.stdtrit(self.tested - 1, 1 - alpha / 2))

    def test_ends(self) -> tuple[float, float]:
        return self.test_range or chi_square_range(self.v_test, self.known_seed_df)

    def variance_range(self) -> tuple[float, float]:
        if self.test_range is not None:  # both parts were estimated on one split
            return super().variance_range()
        return chi_square_range(self.v_seed + self.v_test, self.known_seed_df)

    def with_seeds(
        self, num_seeds: float, seed: float = 1.0, v_test: float | None = None
    ) -> FoldedMean:
        tested = min(num_seeds, self.folds)
        share = self.tested / tested
        ends = self.test_range if v_test is None else None
        return replace(
            self,
            num_seeds=num_seeds,
            tested=tested,
            v_seed=seed * self.v_seed * self.num_seeds / num_seeds,
            v_test=share * (self.v_test if v_test is None else v_test),
            test_range=ends and (share * ends[0], share * ends[1]),
            seed_df=self.known_seed_df,
        )


def folded_mean(
    by_fold: Sequence[np.ndarray],
    folds: int,
    influence: Sequence[np.ndarray] | None = None,
) -> FoldedMean:
    """Estimate the mean over folds and its variance.

    Every fold weighs the same, however many seeds tested on it. The folds' means are independent
    but for what their training sets share, so that their spread tells the variance of their mean,
    also where they are of different numbers of seeds.

    Args:
        by_fold (Sequence[ndarray]): Differences of the seeds of each fold, two folds at least.
        folds (int): Folds that there are.
        influence (Sequence[ndarray] | None): What each group of a fold's test images does to each
            of its seeds' differences, (m, g) each; None without evidence.

    Returns:
        FoldedMean: The estimate.
    """
    means = np.array([np.mean(values) for values in by_fold])
    mean, tested = float(means.mean()), len(means)
    equal = np.ptp(means) <= 1e-9 * max(1.0, abs(mean))
    total = 0.0 if equal else float(np.var(means, ddof=1)) / tested
    images = 0.0
    for of_fold in influence or ():
        images += float((of_fold.mean(0) ** 2).sum())
        if len(of_fold) > 1:
            images -= float(of_fold.var(0, ddof=1).sum()) / len(of_fold)
    images = min(total, max(0.0, images / tested**2))
    num_seeds = sum(map(len, by_fold))
    return FoldedMean(mean, num_seeds, total - images, images, folds=folds, tested=tested)


@dataclass
class FoldedJackknife:
    """What :class:`TaskJackknife` is for one split, for folds.

    Args:
        folds (dict[int, TaskJackknife]): Of the runs of each fold.
    """

    folds: dict[int, TaskJackknife]
    groups: dict[str, ImageGroups] = field(init=False)

    def __post_init__(self) -> None:
        names = dict.fromkeys(name for found in self.folds.values() for name in found.groups)
        self.groups = {name: self.groups_of(name) for name in names}

    @classmethod
    def of(
        cls,
        evidence: dict[tuple[str, int], Evidence],
        classes: list[str],
        fold_of: Callable[[int], int],
    ) -> FoldedJackknife:
        """Leave out each group of each fold's test images in turn.

        Raises:
            ValueError: Runs of one fold were tested on different images, or two folds share some.
        """
        by_fold: dict[int, dict[tuple[str, int], Evidence]] = {}
        for (arm, seed), found in evidence.items():
            by_fold.setdefault(fold_of(seed), {})[arm, seed] = found
        seen: dict[str, int] = {}
        for fold, runs in by_fold.items():
            first = next(iter(runs.values()))
            for name in first.images:
                if seen.setdefault(name, fold) != fold:
                    raise ValueError(
                        f'the image {name} was tested in fold {seen[name]} and in fold {fold}: '
                        'some of the runs are of other folds; run them again'
                    )
        return cls({fold: TaskJackknife.of(found, classes) for fold, found in by_fold.items()})

    @property
    def num_groups(self) -> int:
        """Groups of test images."""
        return sum(found.num_groups for found in self.folds.values())

    @property
    def good_images(self) -> int:
        """Test images without a defect."""
        return sum(found.good_images for found in self.folds.values())

    @property
    def full(self) -> dict[tuple[str, int], dict[str, float]]:
        """Metrics of all test images of a run."""
        return {key: value for found in self.folds.values() for key, value in found.full.items()}

    def set_constant(self, constant: set[tuple[str, int, str]]) -> None:
        """See :class:`TaskJackknife`."""
        for found in self.folds.values():
            found.constant = constant

    def check(self, runs: list[RunResult], metric: str) -> None:
        """See :meth:`TaskJackknife.check`."""
        for found in self.folds.values():
            found.check([run for run in runs if (run.arm, run.seed) in found.full], metric)

    def groups_of(self, metric: str) -> ImageGroups:
        """How the images of all folds are grouped for a metric, each fold weighing the same."""
        effective = [
            found.groups[metric].effective
            for found in self.folds.values()
            if metric in found.groups and found.groups[metric].effective
        ]
        count = len(effective) ** 2 / sum(1 / one for one in effective) if effective else 0.0
        return ImageGroups(np.ones(0), count, len(self.folds) - 1)

    def influence(
        self, arm: str, reference: str, seeds: Mapping[int, list[int]], metric: str
    ) -> list[np.ndarray] | None:
        """What each group does to the difference of each seed, by fold; None where it is unknown.

        Args:
            arm (str): Key of the arm.
            reference (str): Key of the arm that it is compared to.
            seeds (Mapping[int, list[int]]): Seeds of each fold.
            metric (str): Name of the metric.
        """
        found = []
        for fold, mine in seeds.items():
            one = self.folds[fold].influence(arm, reference, mine, metric)
            if one is None:
                return None
            found.append(one)
        return found
