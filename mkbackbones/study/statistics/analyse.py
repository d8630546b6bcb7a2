"""The statistics of a study, from its results to its verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..evidence import Evidence
from ..records.results import StudyInfo, StudyResults
from .analysis import Analysis, CarryOver
from .carry_over import carry_over
from .chance import unlearnt_seeds
from .compare import FEWEST_GROUPS, Comparison, compare, correct, score_worst, summarise
from .crossed import crossed_effects
from .efficiency import efficiency
from .jackknife import describe_groups
from .left_out import AnyJackknife, jackknife_of, load_jackknife
from .paired import ALPHA
from .sequential import nominal_level
from .verdicts import Key, judge

__all__ = ['analyse', 'analyse_evidence', 'analyse_tasks']

TaskEvidence = dict[tuple[str, int], Evidence]


def analyse(results: StudyResults) -> Analysis:
    """Compare the arms of a study.

    Args:
        results (StudyResults): The study; test images count as random where each run of a task
            left ``evidence.npz``, or an export of it, in its folder.

    Returns:
        Analysis: The statistics.

    Raises:
        ValueError: A run lacks its primary metric, or the evidence of a run does not belong to it
            or to the task's test images.
    """
    jackknives = {task: load_jackknife(results, task) for task in results.info.tasks}
    return analyse_tasks(results, jackknives)[0]


def analyse_evidence(results: StudyResults, evidence: dict[str, TaskEvidence]) -> Analysis:
    """:func:`analyse` with the evidence at hand: by task, then arm and seed; {} where missing."""
    jackknives = {
        task: jackknife_of(results.info, task, found) for task, found in evidence.items() if found
    }
    return analyse_tasks(results, jackknives)[0]


def analyse_tasks(
    results: StudyResults, jackknives: Mapping[str, AnyJackknife | None]
) -> tuple[Analysis, dict[Key, Comparison]]:
    """:func:`analyse` with what groups of test images do at hand, by task.

    Returns:
        tuple: The statistics, and the comparisons on primary metrics by task, arm and reference.
    """
    results, scored_worst = score_worst(results)
    results, old_alarms = without_old_alarms(results, jackknives)
    info = results.info
    known = {task: found for task, found in jackknives.items() if found is not None}
    for task, jackknife in known.items():
        jackknife.set_constant({(a, s, m) for t, a, s, m in scored_worst if t == task})
        runs = [run for run in results.runs if run.task == task]
        jackknife.check(runs, info.tasks[task].primary)
    comparisons = [c for task in info.tasks for c in compare(results, task, known.get(task))]
    correct(comparisons, info)
    primary = {
        (c.difference.task, c.difference.arm, c.difference.reference): c
        for c in comparisons
        if c.difference.primary
    }
    arms = [arm for arm in info.arms if arm != info.baseline]
    classification = next((t for t, a in info.tasks.items() if a.kind == 'classification'), None)
    ratios = _carry_over(info, arms, primary, classification)
    unlearnt = {task: unlearnt_seeds(results, task) for task in info.tasks}
    analysis = Analysis(
        study=info.name,
        baseline=info.baseline,
        controls=[arm for arm, about in info.arms.items() if about.role == 'control'],
        labels={arm: about.label for arm, about in info.arms.items()},
        primary={task: about.primary for task, about in info.tasks.items()},
        summaries=summarise(results),
        differences=[c.difference for c in comparisons],
        carry_over=list(ratios.values()),
        verdicts=[
            judge(info, task, arm, primary, ratios.get((task, arm)), classification, unlearnt[task])
            for task in info.tasks
            for arm in arms
            if arm in info.arms_of(task)
        ],
        efficiency=[
            found
            for (_, _, reference), c in primary.items()
            if reference == info.baseline
            for found in efficiency(results, c.difference)
        ],
        notes=_notes(results, known, classification, old_alarms),
        test_groups={
            task: describe_groups(found, info.tasks[task].primary) for task, found in known.items()
        },
        scored_worst=[f'{t}, {a}, seed {s}: {m}' for t, a, s, m in scored_worst],
        good_images={task: found.good_images for task, found in known.items() if found.good_images},
        crossed=[
            effect
            for task in info.tasks
            for effect in crossed_effects(results, task, jackknives.get(task))
        ],
    )
    return analysis, primary


def without_old_alarms(
    results: StudyResults, jackknives: Mapping[str, AnyJackknife | None]
) -> tuple[StudyResults, int]:
    """Leave out recall whose threshold came from the test images, as former versions took it.

    Runs of today that have defect-free test images state the share of false alarms on them, too.
    """
    runs, count = [], 0
    for run in results.runs:
        jackknife = jackknives.get(run.task)
        good = jackknife is not None and jackknife.good_images
        old = good and 'falsealarms@fa5' not in run.metrics
        kept = {k: v for k, v in run.metrics.items() if not (old and k == 'recall@fa5')}
        count += len(kept) < len(run.metrics)
        runs.append(replace(run, metrics=kept))
    return replace(results, runs=runs), count


def _carry_over(
    info: StudyInfo,
    arms: list[str],
    primary: dict[Key, Comparison],
    classification: str | None,
) -> dict[tuple[str, str], CarryOver]:
    """Carry-over by downstream task and arm, where both stages have it."""
    ratios = {}
    for task, about in info.tasks.items():
        for arm in arms:
            downstream = primary.get((task, arm, info.baseline))
            stage = primary.get((classification or '', arm, info.baseline))
            if about.kind != 'classification' and downstream and stage:
                ratio = carry_over(info, downstream, stage, nominal_level(ALPHA, info.looks))
                if ratio is not None:
                    ratios[task, arm] = ratio
    return ratios


def _notes(
    results: StudyResults,
    jackknives: dict[str, AnyJackknife],
    classification: str | None,
    old_alarms: int,
) -> list[str]:
    """How it was computed and what is missing."""
    info = results.info
    n = len(info.seeds)
    family = sum(len(info.arms_of(task)) - 1 for task in info.tasks)
    notes = [
        'Arms are compared seed by seed. Intervals are at 95 per cent, for the single arm; p '
        'values belong to the same t test and are corrected after Holm, on primary metrics over '
        f'all arms and tasks ({family} comparisons with the baseline), on others over the arms of '
        'a task. Only the primary metric of a task decides.',
        *_training_sets(info),
    ]
    if info.looks:
        looks = ', '.join(map(str, info.looks))
        level = nominal_level(ALPHA, info.looks)
        notes.append(
            f'Looks were planned after {looks} seeds. Intervals, p values and verdicts are those '
            f'of tests at {100 * level:.2f} % at each look, so that the whole error stays at 5 %; '
            'p values are given for all looks together.'
        )
    if n == 1:
        notes.append('With one seed there is no verdict.')
    else:
        notes.append(
            f'With {n} seeds, the exact two-sided sign-flip test cannot go below '
            f'p = {2 / 2**n:.2g}, whatever the data; it assumes no distribution, and is given '
            'beside the t test.'
        )
    for task, about in info.tasks.items():
        if about.folds:
            notes.append(_folds(info, task, jackknives.get(task)))
        elif task in jackknives:
            notes.append(
                f'{task}: intervals take seeds and test images as random; each group of test '
                'images was left out once (jackknife). The test images are of '
                f'{describe_groups(jackknives[task], info.tasks[task].primary)}. A metric with '
                f'fewer than {FEWEST_GROUPS} effective groups has no interval.'
            )
        else:
            notes.append(
                f'{task}: intervals take the seeds alone as random and hold for these test images; '
                'not every run left evidence.'
            )
    if sum(about.kind == 'classification' for about in info.tasks.values()) > 1:
        notes.append(f'Classification means {classification}, the first classification task.')
    if old_alarms:
        notes.append(
            f'recall@fa5 of {old_alarms} runs is left out: a former version took its threshold '
            'from the test images, which flatters it; run them again.'
        )
    missing = info.num_runs - len(results.runs)
    if missing:
        notes.append(
            f'{missing} of the planned runs are missing. A difference uses the seeds that both '
            'arms finished.'
        )
    return notes


def _training_sets(info: StudyInfo) -> list[str]:
    """What the intervals leave out of chance: another training set."""
    one = [task for task, about in info.tasks.items() if not about.folds]
    several = [task for task in info.tasks if task not in one]
    notes = []
    if several:
        notes.append(
            f'{_where(several, info)}the training sets of two folds share most of their images: '
            'what each has of its own is in the intervals, what another draw of all images would '
            'add is not.'
        )
    if one:
        notes.append(
            f'{_where(one, info)}all runs share one training set: the variance that another one '
            'would add is not covered.'
        )
    return [note[0].upper() + note[1:] for note in notes]


def _where(tasks: list[str], info: StudyInfo) -> str:
    """E.g. ``'In detection, '``; empty where it is every task."""
    return '' if len(tasks) == len(info.tasks) else f'In {", ".join(tasks)}, '


def _folds(info: StudyInfo, task: str, jackknife: AnyJackknife | None) -> str:
    """How the intervals of a task with folds came about."""
    folds, tested = info.tasks[task].folds, min(info.tasks[task].folds, len(info.seeds))
    text = (
        f'{task}: seeds test on {folds} folds of the images in turn and never share test images '
        f"within a round. The interval is Student's t over the means of {tested} folds, which "
        'takes seeds and test images as random; the sign-flip test flips folds, and cannot go '
        f'below p = {2 / 2**tested:.2g}. A metric is the mean of those of the folds, not that of '
        'all images at once.'
    )
    if jackknife is None:
        return text
    about = describe_groups(jackknife, info.tasks[task].primary)
    return (
        f'{text} The images are of {about}. A metric with fewer than {FEWEST_GROUPS} effective '
        'groups has no interval.'
    )
