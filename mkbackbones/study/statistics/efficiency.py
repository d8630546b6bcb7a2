"""What a gain costs."""

from __future__ import annotations

from statistics import median
from typing import get_args

from ..records.results import StudyResults
from .analysis import Cost, Difference, Efficiency

__all__ = ['COSTS', 'efficiency']

COSTS: tuple[Cost, ...] = get_args(Cost)
LEAST_INCREASE = 1.0  # per cent; below it, a gain for each 10 per cent says nothing


def efficiency(results: StudyResults, difference: Difference) -> list[Efficiency]:
    """Gain over the reference for each 10 per cent of additional cost.

    Args:
        results (StudyResults): The study.
        difference (Difference): An arm against the baseline on a primary metric.

    Returns:
        list[Efficiency]: One for each cost that was measured for both arms.
    """
    found = []
    for cost in COSTS:
        values, baselines = (
            [getattr(run, cost) for run in results.of(difference.task, arm).values()]
            for arm in (difference.arm, difference.reference)
        )
        if not all(values) or not all(baselines):  # None or 0: not measured
            continue
        value, baseline = float(median(values)), float(median(baselines))
        increase = 100 * (value / baseline - 1)
        per_10 = 10 / increase if increase >= LEAST_INCREASE else None
        gain, low, high = (
            end * per_10 if end is not None and per_10 is not None else None
            for end in (difference.mean, difference.low, difference.high)
        )
        found.append(
            Efficiency(
                task=difference.task,
                arm=difference.arm,
                cost=cost,
                baseline=baseline,
                value=value,
                increase=increase,
                gain=difference.mean,
                gain_per_10=gain,
                low=low,
                high=high,
            )
        )
    return found
