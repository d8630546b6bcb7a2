"""The answer of a study in one short paragraph."""

from __future__ import annotations

from .analysis import Analysis, Verdict, VerdictKind

__all__ = ['headline', 'listed']

PHRASES: dict[VerdictKind, str] = {
    'gains in both': 'it gains in classification and in {}',
    'better': 'it is better in {}',
    'worse': 'it is worse in {}',
    'equivalent': 'it is equivalent, within the margin named beforehand, in {}',
    'undecided': 'there is no evidence either way in {}',
    'no verdict': 'there is no verdict on {}',
}

GAINS: tuple[VerdictKind, ...] = ('gains in both', 'better')


def headline(analysis: Analysis) -> str:
    """One sentence for each candidate: what it does, where, by how much.

    Args:
        analysis (Analysis): The statistics of a study.
    """
    candidates = [a for a in analysis.labels if a not in (analysis.baseline, *analysis.controls)]
    if not candidates:
        return f'The study {analysis.study} has no candidate to judge.'
    return ' '.join(_sentence(analysis, arm) for arm in candidates)


def _sentence(analysis: Analysis, arm: str) -> str:
    verdicts = [v for v in analysis.verdicts if v.arm == arm]
    parts = []
    for kind, phrase in PHRASES.items():
        named = [_task(analysis, v) for v in verdicts if v.kind == kind]
        if named:
            parts.append(phrase.format(listed(named)))
    control = ''
    if any(v.kind in GAINS for v in verdicts):
        control = _control(analysis, verdicts)
    base = analysis.labels[analysis.baseline]
    return f'{analysis.labels[arm]} against {base}: {"; ".join(parts)}{control}.'


def listed(names: list[str]) -> str:
    """E.g. ``'a, b and c'``."""
    return ' and '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _task(analysis: Analysis, verdict: Verdict) -> str:
    """A task with the difference and its interval."""
    difference = analysis.difference(verdict.task, verdict.arm)
    if difference is None:
        return f'{verdict.task} ({verdict.missing})'
    text = f'{difference.mean:+.2f} {difference.metric}'
    if verdict.missing is not None:
        return f'{verdict.task} ({text}, {verdict.missing})'
    if difference.low is not None:
        text += f', {difference.low:+.2f} to {difference.high:+.2f}'
    return f'{verdict.task} ({text})'


def _control(analysis: Analysis, verdicts: list[Verdict]) -> str:
    """Whether the gains exceed those of the controls."""
    gains = [v for v in verdicts if v.kind in GAINS]
    parts = []
    for control in analysis.controls:
        better = [v.task for v in gains if v.against_controls.get(control) == 'better']
        label = analysis.labels[control]
        if len(better) == len(gains):
            parts.append(f'better than the control {label} too')
        elif better:
            parts.append(f'better than the control {label} in {", ".join(better)} only')
        else:
            parts.append(f'but not shown to be better than the control {label}')
    return ''.join(f', {part}' for part in parts)
