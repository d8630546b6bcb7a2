"""From differences to verdicts, in words."""

from __future__ import annotations

import math
from collections.abc import Collection

from ..define.precision import POWER
from ..records.results import StudyInfo
from .analysis import CarryOver, Difference, Standing, Verdict, VerdictKind
from .compare import FEWEST_GROUPS, Comparison
from .paired import ALPHA, PairedMean, SeedsNeeded, seeds_needed
from .sequential import added_seeds, nominal_level

__all__ = ['DECIDED', 'hopeless_margin', 'judge', 'margin_of_images', 'numbers']

#: Kinds of verdicts that more seeds are not needed for.
DECIDED: tuple[VerdictKind, ...] = ('gains in both', 'better', 'worse', 'equivalent')

Key = tuple[str, str, str]  # task, arm, reference


def judge(
    info: StudyInfo,
    task: str,
    arm: str,
    primary: dict[Key, Comparison],
    ratio: CarryOver | None,
    classification: str | None,
    unlearnt: Collection[int] = (),
) -> Verdict:
    """The verdict on one arm and task.

    Args:
        info (StudyInfo): The study.
        task (str): Key of the task.
        arm (str): Key of the arm.
        primary (dict[Key, Comparison]): All comparisons on primary metrics.
        ratio (CarryOver | None): Downstream over classification gain of the arm, where known.
        classification (str | None): Key of the classification task; None without one.
        unlearnt (Collection[int]): Seeds in which the baseline has not learnt the task.
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
        return Verdict(task, arm, 'no verdict', sentence, None, standing, 'no finished seed')
    found = comparison.difference
    kind: VerdictKind
    needed, margin = None, info.plan.margin_beforehand(task) if info.plan else None
    missing, sentence = _missing(info, comparison, unlearnt) or (None, '')
    if missing is not None:
        kind = 'no verdict'
    elif found.found and found.mean < 0:
        kind, sentence = 'worse', f'Worse: {numbers(info, found)}.'
    elif found.found:
        kind, sentence = _gain(info, task, arm, primary, ratio, classification)
    elif (
        margin is not None
        and found.standard_error
        and found.rules_out is not None
        and found.rules_out <= margin
    ):
        kind = 'equivalent'
        sentence = (
            f'Equivalent within the margin named beforehand, {margin:g} points: '
            f'{numbers(info, found)}; the 90 % interval lies within {found.rules_out:.2f} points.'
        )
    else:
        kind = 'undecided'
        if found.standard_error and comparison.estimate is not None:
            power = info.plan.power if info.plan else POWER
            needed = seeds_needed(comparison.estimate, comparison.alpha, power)
        sentence = _undecided(info, found, needed, margin)
        why = hopeless_margin(comparison, margin, info.looks)
        sentence += f' It cannot be with more seeds: {why}.' if why else ''
    if found.found and margin is not None and found.rules_out and found.rules_out <= margin:
        sentence += f' By less than the margin named beforehand, {margin:g} points.'
    sentence += ''.join(f' {_against(info, c)}' for c in against.values() if c is not None)
    return Verdict(task, arm, kind, sentence, needed, standing, missing)


def _missing(
    info: StudyInfo, comparison: Comparison, unlearnt: Collection[int]
) -> tuple[str, str] | None:
    """Why there can be no verdict on a difference, in short and as a sentence."""
    found = comparison.difference
    told = numbers(info, found)
    if found.num_seeds < 2:
        return 'one seed', f'One seed is no evidence, in either direction: {told}.'
    if comparison.estimate is None and found.effective_groups is None:
        return 'one fold', f'The seeds tested one fold, which is no evidence: {told}.'
    if comparison.estimate is None:
        return (
            'too few groups of test images',
            f'Too few test images for a verdict: {told}, on images that weigh as much as '
            f'{found.effective_groups:.1f} groups of equal size, and no interval is to be trusted '
            f'with fewer than {FEWEST_GROUPS}.',
        )
    baseline = info.arms[info.baseline].label
    count = len(set(unlearnt) & set(found.per_seed))
    if 2 * count >= found.num_seeds:
        return (
            f'not learnt by {baseline}',
            f'No verdict: {baseline} finds next to nothing in {count} of {found.num_seeds} seeds, '
            f'and what others find beyond that is chance: {told}.',
        )
    if len(info.looks) > 1 and found.num_seeds < info.looks[0]:
        return (
            f'first look after {info.looks[0]} seeds',
            f'No verdict before the first planned look, after {info.looks[0]} seeds: {told}.',
        )
    return None


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


def _standing(comparison: Comparison | None) -> Standing:
    """How a candidate stands against a control."""
    if comparison is None or comparison.estimate is None:
        return 'no verdict'
    if not comparison.difference.found:
        return 'undecided'
    return 'better' if comparison.difference.mean > 0 else 'worse'


def _undecided(
    info: StudyInfo, found: Difference, needed: SeedsNeeded | None, margin: float | None
) -> str:
    """The sentence for a difference that was neither found nor ruled out."""
    sentence = f'Undecided, no evidence either way: {numbers(info, found)}'
    if not found.standard_error:
        return (
            f'{sentence}; the difference is the same for every seed, which says nothing of chance.'
        )
    power = info.plan.power if info.plan else POWER
    low, high = found.smallest_effect_range or (math.nan, math.nan)
    sentence += '.'
    if needed is not None:
        sentence += f' {_needed(needed, power)}'
        if needed.low is not None and not info.looks:
            sentence += f' {added_seeds()}'
    sentence += (
        f' A study like this one is estimated to find {found.smallest_effect:.2f} points with '
        f'{100 * power:.0f} % power ({low:.2f} to {high:.2f}).'
    )
    if margin is None:
        sentence += (
            ' No margin of equivalence was named beforehand, so none is claimed; one below '
            f'{found.rules_out:.2f} points would not have been shown.'
        )
    else:
        sentence += (
            f' The margin of equivalence named beforehand, {margin:g} points, is not shown: it '
            f'would have to be {found.rules_out:.2f}.'
        )
    if found.low is not None and found.high is not None and (found.low > 0 or found.high < 0):
        sentence += ' The interval of this arm alone excludes 0, but not after the correction.'
    return sentence


def _needed(needed: SeedsNeeded, power: float) -> str:
    """Seeds that would find the observed difference, as far as can be told."""
    if needed.low is None:
        return (
            'Were the observed difference the true one, more seeds would not find it with '
            f'{100 * power:.0f} % power on such test images: with ever more, the power comes to '
            f'{100 * needed.limit:.0f} %.'
        )
    text = f'Were the observed difference the true one, it would need at least {needed.low} seeds'
    if needed.estimate is None:
        return (
            f'{text}, by estimate more than 1000, or more test images: with ever more seeds, the '
            f'power comes to {100 * needed.limit:.0f} %.'
        )
    most = 'with no upper limit' if needed.high is None else f'at most {needed.high}'
    return f'{text}, by estimate {needed.estimate}, {most}.'


def _gain(
    info: StudyInfo,
    task: str,
    arm: str,
    primary: dict[Key, Comparison],
    ratio: CarryOver | None,
    classification: str | None,
) -> tuple[VerdictKind, str]:
    """Kind and sentence for a gain: whether there was one in classification, too."""
    gain = numbers(info, primary[task, arm, info.baseline].difference)
    if classification is None or classification == task:
        return 'better', f'Better: {gain}.'
    stage = primary.get((classification, arm, info.baseline))
    if stage is None or not stage.difference.found or stage.difference.mean < 0:
        why = 'no gain was found in classification'
        if stage is not None:
            why += f' ({numbers(info, stage.difference)})'
        return 'better', f'Better: {gain}; {why}.'
    sentence = f'Gains in both: {gain}'
    if ratio is None:
        return 'gains in both', f'{sentence}.'
    sentence += f'; {ratio.ratio:.2f} points for each point of classification '
    if ratio.unbounded:
        return 'gains in both', f'{sentence}(95 % interval unbounded).'
    return 'gains in both', f'{sentence}(95 % interval {ratio.low:.2f} to {ratio.high:.2f}).'


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
        'undecided': f'Not told from the control {label}',
    }[_standing(comparison)]
    if found.low is None:
        return f'{words}: {found.mean:+.2f} points.'
    return f'{words}: {found.mean:+.2f} points ({found.low:+.2f} to {found.high:+.2f}).'


def margin_of_images(
    estimate: PairedMean, looks: tuple[int, ...]
) -> tuple[float, tuple[float, float]]:
    """Least margin of equivalence that ever more seeds could show on these test images.

    Args:
        estimate (PairedMean): What is known of the variances.
        looks (tuple[int, ...]): Planned looks.

    Returns:
        tuple[float, tuple[float, float]]: Its estimate and 95 per cent interval.
    """
    alpha = nominal_level(2 * ALPHA, looks)
    found = []
    for v_test in (estimate.v_test, *estimate.test_ends()):
        limit = estimate.with_seeds(1e9, v_test=v_test)
        found.append(limit.critical(alpha) * math.sqrt(limit.v_test))
    return found[0], (found[1], found[2])


def hopeless_margin(
    comparison: Comparison | None, margin: float | None, looks: tuple[int, ...]
) -> str:
    """Why no number of seeds would show equivalence; empty where one may, or none is claimed."""
    if comparison is None or comparison.estimate is None or margin is None:
        return ''
    estimate, (low, high) = margin_of_images(comparison.estimate, looks)
    if low <= margin:
        return ''
    return (
        f'the test images alone leave an interval of ±{estimate:.2f} points ({low:.2f} to '
        f'{high:.2f}), wider than the margin of {margin:g}; it takes more test images'
    )
