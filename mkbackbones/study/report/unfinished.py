"""Runs of a study without a result, or with one that does not count, and why."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..records.ledger import Ledger, LedgerError, State
from ..records.results import StudyResults

__all__ = ['OpenRun', 'open_runs']


@dataclass
class OpenRun:
    """A run that a report has to mention.

    Args:
        run (str): Which one.
        state (State | Literal['missing']): How far it is; ``missing`` where there is no ledger to
            tell.
        reason (str): Why, where it is known.
    """

    run: str
    state: State | Literal['missing']
    reason: str = ''


def open_runs(folder: Path, results: StudyResults) -> list[OpenRun]:
    """Failed and stale runs first, then those that are not done yet.

    Args:
        folder (Path): The study's folder.
        results (StudyResults): What was read from it.
    """
    missing = {
        f'runs/{task}/{arm}/seed{seed}': f'{task}, {arm}, seed {seed}'
        for task in results.info.tasks
        for arm in results.info.arms_of(task)
        for seed in results.info.seeds
        if seed not in results.of(task, arm)
    }
    try:
        with contextlib.closing(Ledger(folder, read_only=True)) as ledger:
            rows = ledger.rows()
    except (FileNotFoundError, LedgerError, sqlite3.Error):  # e.g. a copy without its ledger
        rows = {}
    why = {name: text for name, _, text in (line.partition(': ') for line in results.failures)}
    found = []
    for key, row in rows.items():
        if key in missing or row.state in ('failed', 'stale'):
            name = missing.pop(key, None) or f'{row.task}, {row.arm}, seed {row.seed}'
            if row.stage != 'main':
                name += f' ({row.stage}{f" of lr {row.lr:g}" if row.lr else ""})'
            state = 'missing' if row.state == 'done' else row.state
            found.append(OpenRun(name, state, row.error))
    found += [OpenRun(name, 'missing', why.get(name, '')) for name in missing.values()]
    order = ('failed', 'stale', 'missing', 'running', 'pending')
    return sorted(found, key=lambda run: order.index(run.state))
