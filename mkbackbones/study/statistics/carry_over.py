"""How much of a classification gain arrives downstream: a ratio of two gains, after Fieller."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from ..records.results import StudyInfo, fold_of
from .analysis import CarryOver
from .compare import Comparison
from .folded import FoldedMean
from .paired import ALPHA, PairedMean

__all__ = ['carry_over']


def carry_over(
    info: StudyInfo, downstream: Comparison, classification: Comparison, alpha: float = ALPHA
) -> CarryOver | None:
    """The ratio of an arm's gains, over the seeds that have both; None with fewer than two.

    The gains of a seed are paired: what they share (the network, where the downstream run starts
    from the classification run) enters as their covariance. The two test sets are independent.

    Where a task has folds, gains are those of folds, each the mean of its seeds; the test images
    of a fold are in the spread of its gains already.

    Args:
        info (StudyInfo): The study.
        downstream (Comparison): Arm against baseline on a downstream task, primary metric.
        classification (Comparison): The same on the classification task.
        alpha (float): Level of the interval at one look.
    """
    below, above = classification.difference, downstream.difference
    seeds = [seed for seed in above.per_seed if seed in below.per_seed]
    if len(seeds) < 2 or classification.estimate is None or downstream.estimate is None:
        return None
    units = _units(info, (below.task, above.task), seeds)
    if units is None or len(set(units.values())) < 2:
        return None
    x, y = (_by_unit(gains.per_seed, units) for gains in (below, above))
    ratio, ends = fieller(x, y, classification.estimate, downstream.estimate, alpha)
    correlation, low, high = _correlation(x, y)
    return CarryOver(
        task=above.task,
        classification=below.task,
        arm=above.arm,
        ratio=ratio,
        low=ends[0] if ends else None,
        high=ends[1] if ends else None,
        unbounded=ends is None,
        num_seeds=len(seeds),
        correlation=correlation,
        correlation_low=low,
        correlation_high=high,
    )


def _units(info: StudyInfo, tasks: tuple[str, str], seeds: list[int]) -> dict[int, int] | None:
    """What of each seed is drawn by itself: its fold; None where two tasks have other folds."""
    folds = {info.tasks[task].folds for task in tasks} - {0}
    if len(folds) > 1:
        if len(info.seeds) > min(folds):
            return None
        folds = {max(folds)}
    return {seed: fold_of(info.seeds, seed, max(folds, default=0)) for seed in seeds}


def _by_unit(gains: dict[int, float], units: dict[int, int]) -> np.ndarray:
    """Mean gain of each unit, in their order."""
    found: dict[int, list[float]] = {}
    for seed, unit in units.items():
        found.setdefault(unit, []).append(gains[seed])
    return np.array([np.mean(mine) for mine in found.values()])


def fieller(
    x: np.ndarray,
    y: np.ndarray,
    x_estimate: PairedMean,
    y_estimate: PairedMean,
    alpha: float = ALPHA,
) -> tuple[float | None, tuple[float, float] | None]:
    """Ratio of two means and its 95 per cent interval.

    The interval holds every ratio r for which ``mean(y) - r mean(x)`` cannot be told from zero,
    where its variance is that over seeds plus that of the two test sets, and the critical value
    the larger one of the two gains.

    Args:
        x (ndarray): Gains of the denominator, (n,).
        y (ndarray): Gains of the numerator of the same seeds, (n,).
        x_estimate (PairedMean): Holds the variance that the denominator's test set adds.
        y_estimate (PairedMean): The same of the numerator.
        alpha (float): Level at one look.

    Returns:
        tuple: The ratio, None where mean(x) is 0; and the interval, None where it is unbounded.
    """
    n = len(x)
    v_test = [
        0.0 if isinstance(found, FoldedMean) else found.v_test for found in (x_estimate, y_estimate)
    ]
    covariance = np.cov(x, y) / n + np.diag(v_test)
    parts = (
        PairedMean(x.mean(), n, np.var(x, ddof=1) / n, v_test[0], x_estimate.test_df),
        PairedMean(y.mean(), n, np.var(y, ddof=1) / n, v_test[1], y_estimate.test_df),
    )
    critical = max(part.critical(alpha) for part in parts)
    a = x.mean() ** 2 - critical**2 * covariance[0, 0]
    b = x.mean() * y.mean() - critical**2 * covariance[0, 1]
    c = y.mean() ** 2 - critical**2 * covariance[1, 1]
    ratio = float(y.mean() / x.mean()) if x.mean() != 0 else None
    if a <= 0 or ratio is None:
        return ratio, None
    root = math.sqrt(max(0.0, b * b - a * c))
    return ratio, (float((b - root) / a), float((b + root) / a))


def _correlation(x: np.ndarray, y: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """Pearson's correlation and its interval after Fisher, from four pairs on."""
    if len(x) < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None, None, None
    result = stats.pearsonr(x, y)
    low, high = result.confidence_interval(1 - ALPHA)
    return float(result.statistic), float(low), float(high)
