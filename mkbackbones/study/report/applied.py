"""Was the treatment applied? What the keys of each arm do, and the score without their charts."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from ..records.results import RunResult, StudyResults
from ..statistics.chance import unlearnt_seeds
from ..statistics.headline import listed
from .blocks import Block, Heading, Table, Text

if TYPE_CHECKING:
    from ..define.arms import Role

__all__ = ['applied', 'idle']

#: Charts are idle if the score changes by less than so many points without them.
IDLE = 0.1
NONE = '–'
OFF = {'scale': 'output scale 0', 'linear': 'best linear map'}
#: Entry of a treatment -> head of its column, and how a value is written.
COLUMNS = {
    'out_scale': ('output scale', '{:.3f}'),
    'charts_over_base': ('charts / base', '{:.1%}'),
    'linear_share': ('linear share', '{:.1%}'),
    'gamma_spread': ('spread of Gamma', '{:.2f}'),
    'temperature': ('temperature', '{:.3f}'),
}


def applied(results: StudyResults) -> list[Block]:
    """The section; nothing where no run has looked at its keys."""
    rows, shown = [], [name for name in COLUMNS if any(name in r.treatment for r in results.runs)]
    for task, arm, runs in looked_at(results):
        row = [task, results.info.arms[arm].label]
        for name in shown:
            values = [float(run.treatment[name]) for run in runs if name in run.treatment]
            row.append(COLUMNS[name][1].format(fmean(values)) if values else NONE)
        changes, linear = lost(results, task, runs), lost(results, task, runs, 'score_linear')
        how = {OFF[str(run.treatment['off'])] for run in runs if 'off' in run.treatment}
        row += [', '.join(sorted(how)) or NONE, changes_in_words(changes)]
        rows.append([*row, changes_in_words(linear), len(runs)])
    if not rows:
        return []
    text = (
        'Means over layers and seeds, on the weights that are tested. Charts / base: root mean '
        'squares of what is added to the base chart, and of that. Linear share: how much of the '
        'charts the best linear map of the tokens explains, 100 % for a key that might as well be '
        'linear. Charts off: the output scale set to zero or, where no base chart is left then, '
        'that map in place of the charts; what the score loses on the test images, least and most '
        'of the seeds in brackets. Linear instead: the same with that map in place of the charts '
        'on a base chart.'
    )
    heads = [COLUMNS[name][0] for name in shown]
    header = ['task', 'arm', *heads, 'charts off', 'the score loses', 'linear instead', 'seeds']
    return [
        Heading('Was the treatment applied?'),
        Text(text),
        Table(header, [[str(cell) for cell in row] for row in rows], text_columns=2, cards=True),
        # Those of candidates stand beside the answer.
        *map(Text, idle(results, ('baseline', 'control'))),
    ]


def idle(results: StudyResults, roles: tuple[Role, ...] = ('candidate',)) -> list[str]:
    """A sentence for each arm whose charts did nothing in tasks that the baseline has learnt.

    Args:
        results (StudyResults): The runs.
        roles (tuple[str, ...]): Roles of the arms that are looked at.
    """
    named: dict[tuple[str, str], list[str]] = {}
    for task, arm, runs in looked_at(results):
        if results.info.arms[arm].role not in roles:
            continue
        changes = lost(results, task, runs)
        if not changes or abs(fmean(changes)) >= IDLE or unlearnt_seeds(results, task):
            continue
        linear = runs[0].treatment['off'] == 'linear'
        how = 'a linear map in their place' if linear else 'them switched off'
        change = f'{task} ({-fmean(changes):+.2f} {results.info.tasks[task].primary})'
        named.setdefault((arm, how), []).append(change)
    return [
        f'The charts of {results.info.arms[arm].label} did nothing in {listed(changes)}: so little '
        f'does the score change with {how}, and what is compared here is hardly a manifold key.'
        for (arm, how), changes in named.items()
    ]


def looked_at(results: StudyResults) -> list[tuple[str, str, list[RunResult]]]:
    """Task, arm and runs that have looked at their keys."""
    found = []
    for task in results.info.tasks:
        for arm in results.info.arms:
            runs = [run for run in results.of(task, arm).values() if run.treatment]
            if runs:
                found.append((task, arm, runs))
    return found


def lost(
    results: StudyResults, task: str, runs: list[RunResult], score: str = 'score_off'
) -> list[float]:
    """What the primary metric of each run loses without its charts, in points."""
    metric = results.info.tasks[task].primary
    return [
        run.metrics[metric] - float(run.treatment[score]) for run in runs if score in run.treatment
    ]


def changes_in_words(changes: list[float]) -> str:
    """Mean, and the range of several."""
    if not changes:
        return NONE
    text = f'{fmean(changes):+.2f}'
    return text if len(changes) == 1 else f'{text} ({min(changes):+.2f} to {max(changes):+.2f})'
