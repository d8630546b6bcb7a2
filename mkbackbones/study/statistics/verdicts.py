"""From differences to verdicts, in words."""

from __future__ import annotations

from ..results import StudyInfo
from .analysis import CarryOver, Difference, Verdict
from .compare import FEWEST_GROUPS, Comparison
from .paired import seeds_needed

__all__ = ['judge', 'numbers']

Key = tuple[str, str, str]  # task, arm, reference


def judge(
    info: StudyInfo,
    task: str,
    arm: str,
    primary: dict[Key, Comparison],
    ratio: CarryOver | None,
    classification: str | None,
) -> Verdict:
    """The verdict on one arm and task.

    Args:
        info (StudyInfo): The study.
        task (str): Key of the task.
        arm (str): Key of the arm.
        primary (dict[Key, Comparison]): All comparisons on primary metrics.
        ratio (CarryOver | None): Downstream over classification gain of the arm, where known.
        classification (str | None): Key of the classification task; None without one.
    """
    comparison = primary.get((task, arm, info.baseline))
    label = info.arms[arm].label
    against = {}
    if info.arms[arm].role == 'candidate':
        controls = [key for key, about in info.arms.items() if about.role == 'control']
        against = {key: primary.get((task, arm, key)) for key in controls}
    standing = {key: _standing(c) for key, c in against.items()}
    if comparison is None:
        sentence = f'No verdict on {label}: no seed was finished by it and by the baseline.'
        return Verdict(task, arm, 'no verdict', sentence, None, standing)
    found = comparison.difference
    needed = None
    if found.num_seeds < 2:
        kind = 'no verdict'
        sentence = f'One seed is no evidence, in either direction: {numbers(info, found)}.'
    elif comparison.estimate is None:
        kind = 'no verdict'
        sentence = (
            f'Too few test images for a verdict: {numbers(info, found)}, on images that weigh as '
            f'much as {found.effective_groups:.1f} groups of equal size, and no interval is to be '
            f'trusted with fewer than {FEWEST_GROUPS}.'
        )
    elif not found.found:
        kind = 'no evidence'
        if found.standard_error:
            needed = seeds_needed(comparison.estimate, comparison.alpha)
        sentence = _no_evidence(info, comparison, needed)
    elif found.mean < 0:
        kind, sentence = 'hurts', f'Hurts: {numbers(info, found)}.'
    else:
        kind, sentence = _gain(info, task, arm, primary, ratio, classification)
    sentence += ''.join(f' {_against(info, c)}' for c in against.values() if c is not None)
    return Verdict(task, arm, kind, sentence, needed, standing)


def numbers(info: StudyInfo, difference: Difference) -> str:
    """A difference with its interval, e.g. for the end of a sentence."""
    text = (
        f'{difference.mean:+.2f} points {difference.metric} over '
        f'{info.arms[difference.reference].label}'
    )
    seeds = f'{difference.num_seeds} seed{"s" if difference.num_seeds > 1 else ""}'
    if difference.low is None:
        return f'{text} ({seeds})'
    return (
        f'{text} (95 % interval {difference.low:+.2f} to {difference.high:+.2f}, '
        f'{seeds}, corrected p = {difference.p_holm:.2g})'
    )


def _standing(comparison: Comparison | None) -> str:
    """How a candidate stands against a control."""
    if comparison is None or comparison.estimate is None:
        return 'no verdict'
    if not comparison.difference.found:
        return 'no evidence'
    return 'better' if comparison.difference.mean > 0 else 'worse'


def _no_evidence(info: StudyInfo, comparison: Comparison, needed: int | None) -> str:
    """The sentence for a difference that was not found."""
    found = comparison.difference
    sentence = f'No evidence either way: {numbers(info, found)}'
    if not found.standard_error:
        return (
            f'{sentence}; the difference is the same for every seed, which says nothing of chance.'
        )
    if needed is None:
        sentence += '; were it the true one, 1000 seeds would not find it on such test images.'
    else:
        sentence += f'; if that is the true difference, it would need about {needed} seeds.'
    sentence += (
        f' The study could have found {found.smallest_effect:.2f} points (80 % power). '
        f'Equivalence tests at 5 %, the 90 % interval, rule out more than {found.rules_out:.2f} '
        'points up or down.'
    )
    if found.low > 0 or found.high < 0:
        sentence += ' The interval of this arm alone excludes 0, but not after the correction.'
    return sentence


def _gain(
    info: StudyInfo,
    task: str,
    arm: str,
    primary: dict[Key, Comparison],
    ratio: CarryOver | None,
    classification: str | None,
) -> tuple[str, str]:
    """Kind and sentence for a gain: whether there was one in classification to carry over."""
    gain = numbers(info, primary[task, arm, info.baseline].difference)
    if classification is None or classification == task:
        return 'helps', f'Helps: {gain}.'
    stage = primary.get((classification, arm, info.baseline))
    if stage is None or not stage.difference.found or stage.difference.mean < 0:
        why = 'no classification gain was found that it could have carried over from'
        if stage is not None:
            why += f' ({numbers(info, stage.difference)})'
        return 'helps', f'Helps: {gain}; {why}.'
    sentence = f'Carries over: {gain}'
    if ratio is None:
        return 'carries over', f'{sentence}.'
    sentence += f'; {ratio.ratio:.2f} points for each point of classification '
    if ratio.unbounded:
        return 'carries over', f'{sentence}(95 % interval unbounded).'
    return 'carries over', f'{sentence}(95 % interval {ratio.low:.2f} to {ratio.high:.2f}).'


def _against(info: StudyInfo, comparison: Comparison) -> str:
    """One sentence on a candidate against a control."""
    found = comparison.difference
    label = info.arms[found.reference].label
    if comparison.estimate is None:
        why = 'one seed' if found.num_seeds < 2 else 'on too few groups of test images'
        return f'Against the control {label}: {found.mean:+.2f} points, {why}.'
    words = {
        'better': f'Better than the control {label}',
        'worse': f'Worse than the control {label}',
        'no evidence': f'Not told from the control {label}',
    }[_standing(comparison)]
    if found.low is None:
        return f'{words}: {found.mean:+.2f} points.'
    return f'{words}: {found.mean:+.2f} points ({found.low:+.2f} to {found.high:+.2f}).'
