"""The mean of paired differences, with both seeds and test images as random.

Notation of docs/statistics.md: n seeds, g groups of test images, ``v_seed`` and ``v_test`` the two
parts of the variance of the mean difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

__all__ = ['PairedMean', 'paired_mean', 'seeds_needed', 'sign_flip']

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 1000


@dataclass
class PairedMean:
    """A mean difference and the two parts of its variance.

    Args:
        mean (float): Mean over the seeds.
        num_seeds (int): Number of seeds n, at least two.
        v_seed (float): Variance of the mean over draws of n seeds, for this test split.
        v_test (float): Variance that the draw of test images adds, for all seeds alike.
        test_df (float): Degrees of freedom of ``v_test``.
    """

    mean: float
    num_seeds: int
    v_seed: float
    v_test: float = 0.0
    test_df: float = np.inf

    @property
    def standard_error(self) -> float:
        """Standard error of the mean."""
        return float(np.sqrt(self.v_seed + self.v_test))

    def critical(self, alpha: float) -> float:
        """Two-sided critical value in standard errors, after Cochran and Cox.

        The mean of the two parts' t quantiles, weighted by the parts: exactly Student's t for
        either part alone. Satterthwaite's degrees of freedom are too optimistic with 3 seeds.
        """
        if self.standard_error == 0:
            return 0.0
        seed, test = special.stdtrit([self.num_seeds - 1, self.test_df], 1 - alpha / 2)
        share = self.v_seed / (self.v_seed + self.v_test)
        return float(share * seed + (1 - share) * test)

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """Confidence interval at level ``1 - alpha``."""
        half = self.critical(alpha) * self.standard_error
        return self.mean - half, self.mean + half

    def p(self) -> float:
        """Two-sided p: the level at which the interval ends at zero."""
        if self.standard_error == 0:
            return 1.0 if self.mean == 0 else 0.0
        t = abs(self.mean) / self.standard_error
        tail = (1e-15, 1 - 1e-12)
        if self.critical(tail[0]) <= t:
            return tail[0]
        if self.critical(tail[1]) >= t:
            return 1.0
        return float(optimize.brentq(lambda alpha: self.critical(alpha) - t, *tail))

    def power(self, effect: float, alpha: float = ALPHA) -> float:
        """Probability that a test at level ``alpha`` finds a true difference of this size."""
        critical = self.critical(alpha)
        if critical == 0:
            return float(effect != 0)
        # Beyond this the power is 1, and nctdtr loses its way.
        shift = min(abs(effect) / self.standard_error, 4 * (critical + 1))
        return 1 - float(special.nctdtr(_df_of(critical, alpha), shift, critical))

    def smallest_effect(self, alpha: float = ALPHA) -> float:
        """True difference that a test at level ``alpha`` finds with 80 per cent power."""
        ceiling = 4 * (self.critical(alpha) + 1) * self.standard_error
        if ceiling == 0:
            return 0.0
        return float(optimize.brentq(lambda e: self.power(e, alpha) - POWER, 0, ceiling))


def _df_of(critical: float, alpha: float) -> float:
    """Degrees of freedom of Student's t with this critical value, from 1 to a million."""
    fewest, most = 1.0, 1e6
    if critical <= special.stdtrit(most, 1 - alpha / 2):
        return most
    if critical >= special.stdtrit(fewest, 1 - alpha / 2):
        return fewest
    return float(
        optimize.brentq(lambda df: special.stdtrit(df, 1 - alpha / 2) - critical, fewest, most)
    )


def paired_mean(
    differences: np.ndarray, influence: np.ndarray | None = None, test_df: float = np.inf
) -> PairedMean:
    """Estimate the mean and both parts of its variance.

    The spread of the seeds' differences holds what seeds do, and what seeds do to single images.
    What the groups of images do to the *mean* difference holds the latter too, a second time,
    besides what they do to all seeds alike. How much of it is the former follows from how much a
    group's influence differs between the seeds, and is taken off.

    Args:
        differences (ndarray): Difference of each seed, (n,), n at least two.
        influence (ndarray | None): What each group of test images does to each seed's difference,
            (n, g), see :meth:`TaskJackknife.influence`; None without evidence.
        test_df (float): Degrees of freedom of what they do.

    Returns:
        PairedMean: The estimate.
    """
    n = len(differences)
    v_seed = float(np.var(differences, ddof=1)) / n
    mean = float(np.mean(differences))
    if influence is None:
        return PairedMean(mean, n, v_seed)
    of_mean = float((influence.mean(0) ** 2).sum())
    of_single_seeds = float(influence.var(0, ddof=1).sum()) / n
    v_test = max(0.0, of_mean - of_single_seeds)
    return PairedMean(mean, n, v_seed, v_test, max(1.0, test_df))


def seeds_needed(estimate: PairedMean, alpha: float = ALPHA) -> int | None:
    """Seeds that find the observed difference with 80 per cent power, were it the true one.

    Returns:
        int | None: At least 2; None if the test images alone leave too much doubt, or if it would
        take more than 1000.
    """
    one_seed = estimate.v_seed * estimate.num_seeds

    def enough(n: int) -> bool:
        planned = PairedMean(estimate.mean, n, one_seed / n, estimate.v_test, estimate.test_df)
        return planned.power(estimate.mean, alpha) >= POWER

    if not enough(MOST_SEEDS):
        return None
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def sign_flip(differences: np.ndarray) -> float:
    """Two-sided sign-flip test of the mean: exact up to 12 seeds, 4096 random flips beyond."""
    result = stats.permutation_test(
        (np.asarray(differences),),
        lambda values, axis: np.mean(values, axis=axis),
        permutation_type='samples',
        vectorized=True,
        n_resamples=4096,
        rng=np.random.default_rng(0),
    )
    return float(min(1.0, result.pvalue))
