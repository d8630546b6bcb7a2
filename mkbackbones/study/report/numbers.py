"""Every number of a study as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from math import isfinite

from ..records.results import StudyResults
from ..statistics import Analysis

__all__ = ['to_csv', 'to_json']

COLUMNS = ('table', 'task', 'arm', 'reference', 'metric', 'seed', 'quantity', 'value')
#: Of a run, what is no single number, or is given otherwise.
NOT_COSTS = (
    *('task', 'arm', 'seed', 'metrics', 'val_curve', 'losses', 'treatment', 'charts'),
    *('environment', 'folder'),
)


def to_json(results: StudyResults, analysis: Analysis) -> str:
    """The plan, the runs and the statistics.

    The loss of each iteration stays in each run's ``result.json``.
    """
    runs = [
        {key: value for key, value in asdict(run).items() if key not in ('losses', 'folder')}
        for run in results.runs
    ]
    for run in runs:
        metrics = run['metrics'].items()
        run['metrics'] = {name: value if isfinite(value) else None for name, value in metrics}
    study = asdict(results.info)
    for task in study['tasks'].values():
        del task['data_root']  # of one machine alone; the hash of the data is in the environment
    content = {'study': study, 'runs': runs, 'analysis': analysis.to_dict()}
    return json.dumps(content, indent=1) + '\n'


def to_csv(results: StudyResults, analysis: Analysis) -> str:
    """One row a number; tables are ``run``, ``treatment``, ``curve``, ``mean``, ..."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(COLUMNS)
    writer.writerows(_rows_of_runs(results))
    writer.writerows(_rows_of_analysis(analysis))
    return buffer.getvalue()


def _rows_of_runs(results: StudyResults) -> Iterator[tuple]:
    for run in results.runs:
        key = (run.task, run.arm, '')
        for metric, value in run.metrics.items():
            yield 'run', *key, metric, run.seed, 'test', value
        for name, value in asdict(run).items():
            if name not in NOT_COSTS and value is not None:
                yield 'run', *key, '', run.seed, name, value
        for name, entry in run.treatment.items():
            yield 'treatment', *key, '', run.seed, name, entry
        at = run.charts.get('iteration', [])
        for name, values in run.charts.items():
            for iteration, entry in zip(at, values if name != 'iteration' else []):
                yield 'charts', *key, '', run.seed, f'{name} at {iteration:g}', entry
        metric = results.info.tasks[run.task].primary
        for iteration, value in run.val_curve:
            yield 'curve', *key, metric, run.seed, f'validation at {iteration:g}', value


def _rows_of_analysis(analysis: Analysis) -> Iterator[tuple]:
    for summary in analysis.summaries:
        row = ('mean', summary.task, summary.arm, '', summary.metric, '')
        yield from _quantities(row, summary, ('mean', 'sd'))
    for found in analysis.differences:
        key = ('difference', found.task, found.arm, found.reference, found.metric)
        for seed, value in found.per_seed.items():
            yield *key, seed, 'difference', value
        names: tuple[str, ...] = (
            'mean', 'low', 'high', 'standard_error', 'seed_sd', 'test_sd', 'p', 'p_holm',
            'p_sign_flip', 'smallest_effect', 'rules_out', 'effective_groups',
        )  # fmt: skip
        yield from _quantities((*key, ''), found, names)
        for end, value in zip(('low', 'high'), found.smallest_effect_range or ()):
            yield *key, '', f'smallest_effect: {end}', value
    base = analysis.baseline
    for ratio in analysis.carry_over:
        row = ('carry-over', ratio.task, ratio.arm, base, analysis.primary[ratio.task], '')
        names = ('ratio', 'low', 'high', 'correlation', 'correlation_low', 'correlation_high')
        yield from _quantities(row, ratio, names)
    for crossed in analysis.crossed:
        row = ('crossed', crossed.task, crossed.arm, base, analysis.primary[crossed.task], '')
        for name in ('mean', 'low', 'high', 'p'):
            value = getattr(crossed, name)
            if value is not None:
                yield *row, f'{crossed.effect}: {name}', value
    for verdict in analysis.verdicts:
        row = ('verdict', verdict.task, verdict.arm, base, analysis.primary[verdict.task], '')
        yield from _quantities(row, verdict, ('kind',))
        for name in ('estimate', 'low', 'high', 'limit') if verdict.seeds_needed else ():
            value = getattr(verdict.seeds_needed, name)
            if value is not None:
                yield *row, f'seeds needed: {name}', value
    for cost in analysis.efficiency:
        row = ('efficiency', cost.task, cost.arm, base, analysis.primary[cost.task], '')
        names = ('baseline', 'value', 'increase', 'gain_per_10', 'low', 'high')
        for name in names:
            value = getattr(cost, name)
            if value is not None:
                yield *row, f'{cost.cost}: {name}', value


def _quantities(key: tuple, found: object, names: tuple[str, ...]) -> Iterator[tuple]:
    """A row for each attribute that has a value."""
    for name in names:
        value = getattr(found, name)
        if value is not None:
            yield *key, name, value
