"""Two studies side by side on the console."""

from __future__ import annotations

import statistics

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ...records.results import StudyInfo, StudyResults
from ...statistics import Analysis, analyse, headline
from ..changes import Change, changed_settings, changes, common_tasks

__all__ = ['side_by_side']


def side_by_side(first: StudyResults, second: StudyResults, names: tuple[str, str]) -> Group:
    """What two studies say of the tasks and arms that both have, and what differs between them.

    Args:
        first (StudyResults): The earlier one.
        second (StudyResults): The later one.
        names (tuple[str, str]): How to call them.

    Raises:
        ValueError: They have no task in common, or one contradicts itself.
    """
    tasks = common_tasks(first.info, second.info)
    metrics, gains = changes(first, second, tasks)
    analyses = analyse(first), analyse(second)
    parts: list = [
        Text.assemble((f'{name}: ', 'bold'), headline(analysis))
        for name, analysis in zip(names, analyses)
    ]
    parts += [
        Text(f'{name} is unfinished: {len(results.runs)} of {planned} runs have a result.')
        for name, results in zip(names, (first, second))
        if len(results.runs) < (planned := results.info.num_runs)
    ]
    nothing = Text('No task and arm has a finished run in both, so there is nothing to compare.')
    parts += [Text(''), _metric_table(metrics, analyses[0], names) if metrics else nothing]
    if gains:
        parts += [Text(''), _gain_table(gains, analyses, names)]
    parts += [Text(''), Text(_caveat(first, second, tasks), style='dim')]
    rows = changed_settings(first.info, second.info)
    parts += [Text(''), _settings_table(rows, names) if rows else Text('The settings are equal.')]
    only = _only_in_one(first, second, tasks, names)
    return Group(*parts, *([Text(''), Text(only)] if only else []))


def _metric_table(rows: list[Change], analysis: Analysis, names: tuple[str, str]) -> Table:
    table = _table('primary metric, mean ± sd over seeds', 'task', 'arm', 'metric')
    for name in (*names, 'change', '95 % interval'):
        table.add_column(name, justify='right')
    for row in rows:
        cells = [_spread(list(values.values())) for values in (row.before, row.after)]
        table.add_row(
            row.task, analysis.labels[row.arm], row.metric, *cells, f'{row.mean:+.2f}', _ends(row)
        )
    return table


def _gain_table(
    rows: list[Change], analyses: tuple[Analysis, Analysis], names: tuple[str, str]
) -> Table:
    table = _table("difference to each study's baseline, with its verdict", 'task', 'arm')
    for name in names:
        table.add_column(name, justify='right', overflow='fold')
    for name in ('change', '95 % interval'):
        table.add_column(name, justify='right')
    for row in rows:
        cells = [_judged(analysis, row) for analysis in analyses]
        label = analyses[0].labels[row.arm]
        table.add_row(row.task, label, *cells, f'{row.mean:+.2f}', _ends(row))
    return table


def _settings_table(rows: list[tuple[str, str, str]], names: tuple[str, str]) -> Table:
    table = _table('what differs in the settings', 'setting', *names)
    for row in rows:
        table.add_row(*row)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify='left', box=None, pad_edge=False, header_style='bold')
    for name in columns:
        table.add_column(name, overflow='fold')
    return table


def _spread(values: list[float]) -> str:
    mean = f'{statistics.fmean(values):.2f}'
    if len(values) > 1:
        mean += f' ± {statistics.stdev(values):.2f}'
    return f'{mean} (n = {len(values)})'


def _ends(row: Change) -> str:
    found = row.interval()
    return '' if found is None else f'{found[0]:+.2f} to {found[1]:+.2f}'


def _judged(analysis: Analysis, row: Change) -> str:
    found, verdict = analysis.difference(row.task, row.arm), analysis.verdict(row.task, row.arm)
    if found is None or verdict is None:
        return 'no verdict'
    text = f'{found.mean:+.2f}'
    if found.low is not None:
        text += f' ({found.low:+.2f} to {found.high:+.2f})'
    return f'{text}, {verdict.kind}'


def _caveat(first: StudyResults, second: StudyResults, tasks: list[str]) -> str:
    """What the intervals of the changes do and do not say."""
    text = (
        'Changes are the second study less the first, with Welch intervals over seeds, for these '
        'test images, not corrected for their number.'
    )

    def data(info: StudyInfo, task: str) -> tuple:
        return info.environment.get(f'data of {task}'), info.tasks[task].num_images

    folded = [
        task for task in tasks if any(info.tasks[task].folds for info in (first.info, second.info))
    ]
    if folded:
        text += f' In {", ".join(folded)} they are over folds, each the mean of its seeds.'
    other = [task for task in tasks if data(first.info, task) != data(second.info, task)]
    if other:
        text += (
            f' The data of {", ".join(other)} differ, perhaps the test images, too: a change there '
            'need not be one of the networks.'
        )
    return text


def _only_in_one(
    first: StudyResults, second: StudyResults, tasks: list[str], names: tuple[str, str]
) -> str:
    """Tasks and arms that cannot be compared."""
    parts = []
    infos = (first.info, second.info)
    for name, mine, other in zip(names, infos, reversed(infos)):
        missing = [f'task {task}' for task in mine.tasks if task not in tasks]
        missing += [f'arm {arm}' for arm in mine.arms if arm not in other.arms]
        if missing:
            parts.append(f'Only in {name}: {", ".join(missing)}.')
    return ' '.join(parts)
