"""The mean of paired differences, with both seeds and test images as random.

Notation of docs/statistics.md: n seeds, g groups of test images, ``v_seed`` and ``v_test`` the two
parts of the variance of the mean difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, special, stats

from ..define.precision import POWER

__all__ = ['PairedMean', 'SeedsNeeded', 'paired_mean', 'seeds_needed', 'sign_flip']

ALPHA = 0.05
MOST_SEEDS = 1000


@dataclass
class PairedMean:
    """A mean difference and the two parts of its variance.

    Args:
        mean (float): Mean over the seeds.
        num_seeds (float): Number of seeds n, at least two.
        v_seed (float): Variance of the mean over draws of n seeds, for this test split.
        v_test (float): Variance that the draw of test images adds, for all seeds alike.
        test_df (float): Degrees of freedom of ``v_test``.
        test_range (tuple[float, float] | None): 95 per cent interval of ``v_test``, which may be
            estimated as 0 and not be; None where it is known.
        seed_df (float | None): Degrees of freedom of ``v_seed`` where it was estimated from other
            seeds than these; None for ``num_seeds - 1``.
    """

    mean: float
    num_seeds: float
    v_seed: float
    v_test: float = 0.0
    test_df: float = np.inf
    test_range: tuple[float, float] | None = None
    seed_df: float | None = None

    @property
    def known_seed_df(self) -> float:
        """Degrees of freedom that ``v_seed`` was estimated with."""
        return self.num_seeds - 1 if self.seed_df is None else self.seed_df

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

    def smallest_effect(self, alpha: float = ALPHA, power: float = POWER) -> float:
        """True difference that a test at level ``alpha`` finds with this power."""
        ceiling = 4 * (self.critical(alpha) + 1) * self.standard_error
        if ceiling == 0:
            return 0.0
        return float(optimize.brentq(lambda e: self.power(e, alpha) - power, 0, ceiling))

    def test_ends(self) -> tuple[float, float]:
        """95 per cent interval of ``v_test``."""
        return self.test_range or (self.v_test, self.v_test)

    def variance_range(self) -> tuple[float, float]:
        """95 per cent interval of the variance of the mean, by MOVER of the two parts."""
        seed = chi_square_range(self.v_seed, self.known_seed_df)
        test = self.test_ends()
        total = self.v_seed + self.v_test
        low, high = (np.hypot(seed[end] - self.v_seed, test[end] - self.v_test) for end in (0, 1))
        return max(0.0, total - float(low)), total + float(high)

    def smallest_effect_range(
        self, alpha: float = ALPHA, power: float = POWER
    ) -> tuple[float, float]:
        """95 per cent interval of :meth:`smallest_effect`, which rests on estimated variances."""
        effect, total = self.smallest_effect(alpha, power), self.v_seed + self.v_test
        if total == 0:
            return effect, effect
        low, high = (effect * float(np.sqrt(v / total)) for v in self.variance_range())
        return low, high

    def with_seeds(
        self, num_seeds: float, seed: float = 1.0, v_test: float | None = None
    ) -> PairedMean:
        """The same with other seeds.

        Args:
            num_seeds (float): Number of seeds.
            seed (float): Factor of the variance over seeds.
            v_test (float | None): What the test images add; None as it is.
        """
        v_seed = seed * self.v_seed * self.num_seeds / num_seeds
        return replace(
            self,
            num_seeds=num_seeds,
            v_seed=v_seed,
            v_test=self.v_test if v_test is None else v_test,
            test_range=self.test_range if v_test is None else None,
            seed_df=self.known_seed_df,
        )


def chi_square_range(variance: float, df: float, level: float = 0.95) -> tuple[float, float]:
    """Interval of a variance that was estimated with so many degrees of freedom."""
    if not np.isfinite(df):
        return variance, variance
    low, high = stats.chi2.ppf([(1 + level) / 2, (1 - level) / 2], df)
    return float(variance * df / low), float(variance * df / high)


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
    mean = float(np.mean(differences))
    # Equal but for the last digits is equal: such a spread would make an interval of width 0.
    equal = np.ptp(differences) <= 1e-9 * max(1.0, abs(mean))
    v_seed = 0.0 if equal else float(np.var(differences, ddof=1)) / n
    if influence is None:
        return PairedMean(mean, n, v_seed)
    of_mean = float((influence.mean(0) ** 2).sum())
    of_single_seeds = float(influence.var(0, ddof=1).sum()) / n
    df = max(1.0, test_df)
    v_test = max(0.0, of_mean - of_single_seeds)
    whole, own = chi_square_range(of_mean, df), chi_square_range(of_single_seeds, (n - 1) * df)
    less = np.hypot(of_mean - whole[0], own[1] - of_single_seeds)
    more = np.hypot(whole[1] - of_mean, of_single_seeds - own[0])
    low, high = (max(0.0, of_mean - of_single_seeds + float(end)) for end in (-less, more))
    return PairedMean(mean, n, v_seed, v_test, df, (low, high))


@dataclass
class SeedsNeeded:
    """Seeds that would find an effect, with the range that uncertain variances leave.

    Args:
        estimate (int | None): Number of seeds, at least 2; None if it would take more than 1000.
        low (int | None): The same if the variances were at the lower end of their 95 per cent
            intervals: it takes at least as many.
        high (int | None): At the upper end; None if no number of seeds up to 1000 is enough.
        limit (float): The power that ever more seeds approach on such test images.
    """

    estimate: int | None
    low: int | None
    high: int | None
    limit: float


def seeds_needed(
    estimate: PairedMean,
    alpha: float = ALPHA,
    power: float = POWER,
    effect: float | None = None,
) -> SeedsNeeded:
    """Seeds with which a test finds an effect with a given power.

    Args:
        estimate (PairedMean): What is known of the variances.
        alpha (float): Level of the test.
        power (float): Power.
        effect (float | None): True difference; None takes the observed one for it.
    """
    effect = estimate.mean if effect is None else effect
    seed = chi_square_range(1.0, estimate.known_seed_df)
    test = estimate.test_ends()
    middle, low, high = (
        least_seeds(estimate, alpha, power, effect, factor, v_test)
        for factor, v_test in ((1.0, estimate.v_test), (seed[0], test[0]), (seed[1], test[1]))
    )
    limit = estimate.with_seeds(1e9).power(effect, alpha) if estimate.v_test else float(effect != 0)
    return SeedsNeeded(middle, low, high, limit)


def least_seeds(
    estimate: PairedMean, alpha: float, power: float, effect: float, factor: float, v_test: float
) -> int | None:
    """Least number of seeds, from 2 to 1000; None where these are too few."""

    def enough(n: int) -> bool:
        return estimate.with_seeds(n, factor, v_test).power(effect, alpha) >= power

    if not enough(MOST_SEEDS):
        return None
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def sign_flip(differences: Sequence[float] | np.ndarray) -> float:
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
