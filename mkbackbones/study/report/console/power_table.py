"""What a planned study can find, on the console."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ...define.precision import POWER
from ...define.spec import Study
from ...statistics.paired import SeedsNeeded
from ...statistics.power import Prospect
from ...statistics.sequential import added_seeds

__all__ = ['power_table']


def power_table(study: Study, found: list[Prospect], missing: list[str]) -> Group:
    """Tables and sentences of ``study power``.

    Args:
        study (Study): The plan.
        found (list[Prospect]): What it can find.
        missing (list[str]): What the pilot cannot tell.
    """
    power = study.plan.power if study.plan else POWER
    table = Table(title=f'what {len(study.seeds)} seeds find', title_justify='left', box=None)
    for name in ('task', 'arm', 'pilot seeds'):
        table.add_column(name)
    for name in (f'found with {100 * power:.0f} % power', 'least margin of these images', 'margin'):
        table.add_column(name, justify='right')
    for p in found:
        table.add_row(
            p.task,
            study.arms[p.arm].label,
            str(p.pilot_seeds),
            f'{p.smallest:.2f} {p.metric} {_ends(p.smallest_range)}',
            f'{p.least_margin:.2f} {_ends(p.least_margin_range)}',
            '' if p.margin is None else f'{p.margin:g}',
        )
    parts: list = [table, *(Text(f'{line}.') for line in missing)]
    wanted = [p for p in found if p.effect is not None]
    if wanted:
        parts += [Text(''), _wanted_table(study, wanted)]
    parts += [Text(sentence) for sentence in _sentences(study, found)]
    return Group(*parts)


def _wanted_table(study: Study, found: list[Prospect]) -> Table:
    table = Table(title='what the wanted effects take', title_justify='left', box=None)
    for name in ('task', 'arm'):
        table.add_column(name)
    for name in ('effect', 'power as planned', 'seeds needed', 'or times the test images'):
        table.add_column(name, justify='right')
    for p in found:
        table.add_row(
            p.task,
            study.arms[p.arm].label,
            f'{p.effect:g} {p.metric}',
            '' if p.power is None else f'{100 * p.power:.0f} %',
            '' if p.needed is None else _seeds(p.needed),
            'no number is enough' if p.images is None else f'{p.images:.1f}',
        )
    return table


def _seeds(needed: SeedsNeeded) -> str:
    if needed.low is None:
        return f'no number is enough: power ends at {100 * needed.limit:.0f} %'
    middle = 'more than 1000' if needed.estimate is None else str(needed.estimate)
    high = 'no upper limit' if needed.high is None else f'at most {needed.high}'
    return f'{middle} (at least {needed.low}, {high})'


def _sentences(study: Study, found: list[Prospect]) -> list[str]:
    lines = [
        'In brackets are 95 % intervals: variances from few seeds are rough. Levels are corrected '
        f'for {study.num_comparisons} comparisons'
        + (' and for the planned looks.' if study.plan and study.plan.looks else '.')
    ]
    for p in found:
        name = f'{p.task}, {study.arms[p.arm].label}'
        if p.by_folds:
            told = [
                f'{effect:.2f} {f"with folds={folds}" if folds else "on one split"}'
                for folds, effect in p.by_folds.items()
            ]
            lines.append(
                f'{name}: {p.seeds} seeds find, with the planned power, {", ".join(told)} '
                f'(tasks.{p.task}: splits=dict(folds=...)).'
            )
        if p.covers == 'seeds':
            lines.append(f'{name}: the pilot left no evidence, so test images count as fixed.')
        if p.margin is not None and p.least_margin_range[0] > p.margin:
            lines.append(
                f'{name}: the margin {p.margin:g} cannot be shown on these test images, whatever '
                f'the number of seeds: they alone leave ±{p.least_margin:.2f}.'
            )
    if not (study.plan and study.plan.looks):
        lines.append(added_seeds())
    return lines


def _ends(ends: tuple[float, float]) -> str:
    return f'({ends[0]:.2f} to {ends[1]:.2f})'
