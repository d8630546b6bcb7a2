"""Summaries of arms and paired differences between them, with Holm's correction."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..define.precision import POWER
from ..records.results import RunResult, StudyInfo, StudyResults
from .analysis import ArmSummary, Difference
from .folded import FoldedJackknife, folded_mean
from .jackknife import TaskJackknife
from .paired import ALPHA, PairedMean, paired_mean, sign_flip
from .sequential import nominal_level, overall_level

__all__ = [
    'FEWEST_GROUPS',
    'AnyJackknife',
    'Comparison',
    'compare',
    'correct',
    'estimate_contrast',
    'holm',
    'score_worst',
    'summarise',
]

#: What groups of test images do, on one split or on folds.
AnyJackknife = TaskJackknife | FoldedJackknife
#: With fewer effective groups of test images no interval is given: the variance between groups is
#: then a guess (docs/statistics.md).
FEWEST_GROUPS = 8


@dataclass
class Comparison:
    """A difference with the estimate behind it.

    Args:
        difference (Difference): For reports.
        estimate (PairedMean | None): None with fewer than two seeds, or folds that were tested,
            and with too few groups of test images.
        alpha (float): Level of Holm's first step in the difference's family, at one look.
    """

    difference: Difference
    estimate: PairedMean | None = None
    alpha: float = ALPHA


def score_worst(results: StudyResults) -> tuple[StudyResults, list[tuple[str, str, int, str]]]:
    """A metric that is no number counts as 0: leaving its run out would flatter the arm.

    Args:
        results (StudyResults): A study.

    Returns:
        tuple: The study with numbers alone; and task, arm, seed and metric of what was none.

    Raises:
        ValueError: A run lacks the primary metric.
    """
    runs, found = [], []
    for run in results.runs:
        primary = results.info.tasks[run.task].primary
        if primary not in run.metrics:
            raise ValueError(
                f"{run.task}, {run.arm}, seed {run.seed} lacks the primary metric '{primary}'; "
                f'it has {", ".join(run.metrics)}'
            )
        wrong = [name for name, value in run.metrics.items() if not math.isfinite(value)]
        found += [(run.task, run.arm, run.seed, name) for name in wrong]
        runs.append(replace(run, metrics={**run.metrics, **dict.fromkeys(wrong, 0.0)}))
    return replace(results, runs=runs), found


def summarise(results: StudyResults) -> list[ArmSummary]:
    """Mean and spread over seeds of every task, metric and arm with a finished run."""
    summaries = []
    for task in results.info.tasks:
        for arm in results.info.arms:
            runs = results.of(task, arm)
            missing = [seed for seed in results.info.seeds if seed not in runs]
            for metric in _common_metrics(list(runs.values())):
                values = {seed: runs[seed].metrics[metric] for seed in sorted(runs)}
                spread = list(values.values())
                sd = float(np.std(spread, ddof=1)) if len(spread) > 1 else None
                mean = float(np.mean(list(results.info.by_fold(task, values).values())))
                summaries.append(ArmSummary(task, metric, arm, mean, sd, values, missing))
    return summaries


def compare(results: StudyResults, task: str, jackknife: AnyJackknife | None) -> list[Comparison]:
    """Every arm of a task against the baseline, and candidates against the controls.

    Args:
        results (StudyResults): The study.
        task (str): Key of the task.
        jackknife (AnyJackknife | None): None where runs left no evidence.
    """
    comparisons = []
    for arm, reference in _pairs(results.info):
        runs, others = results.of(task, arm), results.of(task, reference)
        seeds = [seed for seed in results.info.seeds if seed in runs and seed in others]
        if not seeds:
            continue
        for metric in _common_metrics([*runs.values(), *others.values()]):
            per_seed = {s: runs[s].metrics[metric] - others[s].metrics[metric] for s in seeds}
            difference = Difference(
                task=task,
                metric=metric,
                arm=arm,
                reference=reference,
                primary=metric == results.info.tasks[task].primary,
                per_seed=per_seed,
                missing=[seed for seed in results.info.seeds if seed not in per_seed],
                mean=float(np.mean(list(results.info.by_fold(task, per_seed).values()))),
            )
            estimate = None
            if len(results.info.by_fold(task, per_seed)) > 1:
                estimate = _estimate(difference, jackknife, results.info)
            comparisons.append(Comparison(difference, estimate))
    return comparisons


def correct(comparisons: list[Comparison], info: StudyInfo) -> None:
    """Holm's correction, and the power that it leaves.

    On the primary metrics, which decide, a family is every arm and task against one reference: the
    study has one error, whatever it finds. On other metrics it is the arms of one task.

    Args:
        comparisons (list[Comparison]): Of all tasks.
        info (StudyInfo): The study; looks that it planned are corrected for, too.
    """
    families: dict[tuple, list[tuple[Comparison, PairedMean]]] = defaultdict(list)
    for comparison in comparisons:
        found = comparison.difference
        if comparison.estimate is not None:
            where = () if found.primary else (found.task, found.metric)
            families[found.reference, where].append((comparison, comparison.estimate))
    power = info.plan.power if info.plan else POWER
    for family in families.values():
        alpha = nominal_level(ALPHA / len(family), info.looks)
        single = [1.0 if c.difference.p is None else c.difference.p for c, _ in family]
        corrected = holm([overall_level(p, info.looks) for p in single])
        for (comparison, estimate), p in zip(family, corrected):
            found = comparison.difference
            comparison.alpha = alpha
            found.p_holm = float(p)
            if found.standard_error is not None:
                found.smallest_effect = estimate.smallest_effect(alpha, power)
                found.smallest_effect_range = estimate.smallest_effect_range(alpha, power)


def _pairs(info: StudyInfo) -> list[tuple[str, str]]:
    """Arms and what they are compared to."""
    pairs = [(arm, info.baseline) for arm in info.arms if arm != info.baseline]
    controls = [arm for arm, about in info.arms.items() if about.role == 'control']
    candidates = [arm for arm, about in info.arms.items() if about.role == 'candidate']
    return pairs + [(arm, control) for control in controls for arm in candidates]


def _common_metrics(runs: list[RunResult]) -> list[str]:
    """Metrics that every run has, in the order of the first one."""
    return [m for m in (runs[0].metrics if runs else ()) if all(m in run.metrics for run in runs)]


def _estimate(
    difference: Difference, jackknife: AnyJackknife | None, info: StudyInfo
) -> PairedMean | None:
    """Fill in what does not depend on the other arms; None where there are too few groups."""
    values = np.array(list(difference.per_seed.values()))
    looks, folds = info.looks, info.tasks[difference.task].folds
    by_fold = info.by_fold(difference.task, difference.per_seed)
    difference.seed_sd = float(np.std(values, ddof=1))
    difference.p_sign_flip = sign_flip(list(by_fold.values()))
    if jackknife is not None and difference.metric in jackknife.groups:
        difference.effective_groups = jackknife.groups[difference.metric].effective
    terms = [(difference.arm, difference.reference, 1.0)]
    where = difference.task, difference.metric
    estimate, knows_images = estimate_contrast(info, *where, difference.per_seed, terms, jackknife)
    if estimate is None:
        return None
    if knows_images or folds:
        difference.covers = 'seeds and test images'
    if knows_images:
        difference.test_sd = math.sqrt(estimate.v_test)
    if estimate.standard_error == 0 and estimate.mean != 0:
        # Equal differences, with nothing known of the test images: a t test would claim p = 0.
        difference.p = difference.p_sign_flip
        return estimate
    difference.standard_error = estimate.standard_error
    difference.low, difference.high = estimate.interval(nominal_level(ALPHA, looks))
    ends = estimate.interval(nominal_level(2 * ALPHA, looks))
    difference.rules_out = max(abs(end) for end in ends)
    difference.p = estimate.p()
    return estimate


def estimate_contrast(
    info: StudyInfo,
    task: str,
    metric: str,
    per_seed: dict[int, float],
    terms: list[tuple[str, str, float]],
    jackknife: AnyJackknife | None,
) -> tuple[PairedMean | None, bool]:
    """Estimate the mean of a weighted sum of differences between arms.

    What test images do to a sum is the sum of what they do to its terms.

    Args:
        info (StudyInfo): The study.
        task (str): Key of the task.
        metric (str): Name of the metric.
        per_seed (dict[int, float]): The sum of each seed.
        terms (list[tuple[str, str, float]]): Arm, reference and weight of each difference.
        jackknife (AnyJackknife | None): None where runs left no evidence.

    Returns:
        tuple: The estimate, None where there are too few groups of test images; and whether it
        knows what test images do.
    """
    influence: Any = None
    df, folds = np.inf, info.tasks[task].folds
    by_fold: dict[int, list[int]] = defaultdict(list)
    for seed in per_seed:
        by_fold[info.fold_of(task, seed)].append(seed)
    if jackknife is not None and metric in jackknife.groups:
        groups = jackknife.groups[metric]
        df = groups.df
        if groups.effective < FEWEST_GROUPS:
            return None, False
        where: Any = by_fold if folds else list(per_seed)
        parts: list[Any] = [jackknife.influence(arm, ref, where, metric) for arm, ref, _ in terms]
        if all(part is not None for part in parts):
            weights = [weight for _, _, weight in terms]
            # With folds, a list of arrays.
            splits = zip(*parts) if folds else [parts]
            sums = [sum(w * part for w, part in zip(weights, split)) for split in splits]
            influence = sums if folds else sums[0]
    estimate: PairedMean
    if folds:
        grouped = [np.array([per_seed[seed] for seed in mine]) for mine in by_fold.values()]
        estimate = folded_mean(grouped, folds, influence)
    else:
        estimate = paired_mean(np.array(list(per_seed.values())), influence, df)
    return estimate, influence is not None


def holm(p: list[float]) -> list[float]:
    """Holm's step-down correction; statsmodels' collects garbage, 0.3 s at each call."""
    order = np.argsort(p, kind='stable')
    steps = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected.tolist()
