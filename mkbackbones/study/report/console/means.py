"""The short answer on the console: a mean for each task and arm."""

from __future__ import annotations

import math
import statistics

from rich.table import Table

from ...records.results import StudyResults

__all__ = ['means_table']


def means_table(results: StudyResults) -> Table:
    """Mean of the primary metric on the test split, and its spread over seeds.

    Args:
        results (StudyResults): A study, finished or not.
    """
    table = Table(title='primary metric on the test split, mean over seeds', box=None)
    for name in ('task', 'arm'):
        table.add_column(name)
    for name in ('metric', 'mean', 'std', 'seeds', 'against baseline'):
        table.add_column(name, justify='right')
    info = results.info
    for task, about in info.tasks.items():
        baseline = results.of(task, info.baseline)
        for arm in info.arms_of(task):
            arm_info = info.arms[arm]
            runs = results.of(task, arm)
            if not runs:
                table.add_row(task, arm_info.label, about.primary, '', '', '0', '')
                continue
            scores = {seed: run.metrics.get(about.primary, 0.0) for seed, run in runs.items()}
            pairs = {
                seed: score - baseline[seed].metrics.get(about.primary, 0.0)
                for seed, score in scores.items()
                if seed in baseline
            }
            mean, gain = (
                statistics.fmean(info.by_fold(task, found).values()) if found else math.nan
                for found in (scores, pairs)
            )
            table.add_row(
                task,
                arm_info.label,
                about.primary,
                f'{mean:.2f}',
                f'{statistics.stdev(scores.values()):.2f}' if len(scores) > 1 else '',
                str(len(scores)),
                f'{gain:+.2f}' if pairs and arm != info.baseline else '',
            )
    return table
