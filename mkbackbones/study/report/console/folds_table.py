"""The folds of a study on the console."""

from __future__ import annotations

from rich.table import Table

from ...prepare.prepared import PreparedStudy
from ...records.results import fold_of

__all__ = ['folds_table']


def folds_table(prepared: PreparedStudy) -> Table:
    """Which seeds test on a fold, and how many images and groups it has.

    Args:
        prepared (PreparedStudy): A study that has folds.
    """
    table = Table(title='folds', title_justify='left', box=None)
    for name in ('task', 'fold', 'seeds'):
        table.add_column(name)
    for name in ('train', 'val', 'test', 'groups tested'):
        table.add_column(name, justify='right')
    seeds = prepared.study.seeds
    for key, folds in prepared.folds.items():
        for number, fold in enumerate(folds.splits):
            mine = [seed for seed in seeds if fold_of(seeds, seed, len(folds.splits)) == number]
            table.add_row(
                key,
                str(number),
                ', '.join(map(str, mine)) or 'none',
                *(f'{len(fold[split]):,}' for split in ('train', 'val', 'test')),
                f'{len({folds.groups[index] for index in fold["test"]}):,}',
            )
    return table
