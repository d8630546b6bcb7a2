"""What limits an answer, in sentences that stand right below it."""

from __future__ import annotations

import statistics

from ..records.results import StudyResults
from ..statistics import Analysis
from ..statistics.chance import CLASS_METRICS, unlearnt_seeds
from ..statistics.compare import FEWEST_GROUPS

__all__ = ['limits']

#: Intervals are guesses with fewer effective groups of test images (docs/statistics.md).
MIN_GROUPS = 30
#: A share of false alarms is a matter of chance with fewer defect-free images: at 5 per cent, one
#: in 20.
MIN_GOOD_IMAGES = 20


def limits(results: StudyResults, analysis: Analysis) -> list[str]:
    """Sentences on what is too little to rely on; none where all is well.

    Args:
        results (StudyResults): The study.
        analysis (Analysis): Its statistics.
    """
    found = list(results.info.plan.deviations) if results.info.plan else []
    looks, seeds = results.info.looks, len(results.info.seeds)
    if looks and seeds < looks[-1]:
        found.append(
            f'The study was stopped after {seeds} of {looks[-1]} planned seeds, at a look that its '
            'plan names: every comparison was decided, or more seeds could not decide it.'
        )
    for task, groups in analysis.test_groups.items():
        effective = groups.count if groups.effective is None else groups.effective
        if effective < MIN_GROUPS:
            found.append(
                f'{task}: the test images are of {groups}. Intervals want {MIN_GROUPS}, and are '
                f'left out below {FEWEST_GROUPS}.'
            )
    for task, count in analysis.good_images.items():
        if 0 < count < MIN_GOOD_IMAGES:
            images = 'image is' if count == 1 else 'images are'
            found.append(
                f'{task}: {count} test {images} free of defects, so the share of false alarms on '
                f'them is a matter of chance; it wants {MIN_GOOD_IMAGES} and more.'
            )
    return (
        found
        + left_the_plan(results, analysis)
        + unlearnt(results)
        + collapsed(results)
        + noisy_times(results)
    )


def left_the_plan(results: StudyResults, analysis: Analysis) -> list[str]:
    """Runs whose metric is no number, and arms of a task that finished fewer seeds than others."""
    found = []
    if analysis.scored_worst:
        names = '; '.join(analysis.scored_worst[:5])
        more = ' and others' if len(analysis.scored_worst) > 5 else ''
        found.append(
            'Results that are no numbers and count as 0, the worst: '
            f'{len(analysis.scored_worst)} ({names}{more}).'
        )
    for task in results.info.tasks:
        counts = {arm: len(results.of(task, arm)) for arm in results.info.arms_of(task)}
        if 0 < max(counts.values()) != min(counts.values()):
            most = max(counts.values())
            short = [
                f'{results.info.arms[arm].label} {count}'
                for arm, count in counts.items()
                if count < most
            ]
            found.append(
                f'{task}: of {most} seeds, fewer are finished of {", ".join(short)}. A difference '
                'leaves out the seeds that one of its arms lacks, which flatters an arm whose bad '
                'runs are the ones that fail.'
            )
    return found


def unlearnt(results: StudyResults) -> list[str]:
    """Tasks that the baseline has not learnt in some seed."""
    found = []
    for task in results.info.tasks:
        if seeds := unlearnt_seeds(results, task):
            found.append(
                f'{task}: {results.info.arms[results.info.baseline].label} has not learnt it in '
                f'seed {", ".join(map(str, seeds))}; such a task wants a longer schedule before '
                'anything is compared on it.'
            )
    return found


def collapsed(results: StudyResults) -> list[str]:
    """Classes that some run never finds: a mean over classes hides them."""
    found = []
    for task, about in results.info.tasks.items():
        metric = CLASS_METRICS.get(about.kind)
        classes = []
        for label in about.classes:
            runs = [
                f'{results.info.arms[run.arm].label} seed {run.seed}'
                for run in results.runs
                if run.task == task and run.metrics.get(f'{metric}/{label}') == 0
            ]
            if runs:
                more = f' and {len(runs) - 3} more' if len(runs) > 3 else ''
                classes.append(f'{label} ({", ".join(runs[:3])}{more})')
        if classes:
            found.append(
                f'{task}: classes that a run never finds, {metric} 0: {"; ".join(classes)}.'
            )
    return found


def noisy_times(results: StudyResults) -> list[str]:
    """Tasks whose training times differ more between seeds of an arm than between arms."""
    found = []
    for task in results.info.tasks:
        by_arm = [
            [run.step_seconds for run in results.of(task, arm).values()]
            for arm in results.info.arms
        ]
        by_arm = [seconds for seconds in by_arm if seconds and min(seconds) > 0]
        if len(by_arm) < 2 or not any(len(seconds) > 1 for seconds in by_arm):
            continue
        within = max(max(seconds) / min(seconds) for seconds in by_arm) - 1
        medians = [statistics.median(seconds) for seconds in by_arm]
        between = max(medians) / min(medians) - 1
        if within > max(between, 0.1):
            found.append(
                f'{task}: the time of a training step differs by {within:.0%} between seeds of '
                f'one arm and by {between:.0%} between arms: costs in time are noise here.'
            )
    return found
