"""The state of a study as a table, for ``run`` and ``status``."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..records.ledger import STATES, Ledger, Row, State
from ..records.progress import Progress, read_progress

__all__ = ['Watch', 'duration', 'overview']

STYLES: dict[State, str] = {
    'done': 'green',
    'running': 'cyan',
    'failed': 'red',
    'stale': 'yellow',
    'pending': 'dim',
}
MAX_FAILURES = 8


def overview(folder: Path, rows: Iterable[Row]) -> Group:
    """What a study is at: counts, running workers, failures.

    Args:
        folder (Path): The study's folder.
        rows (Iterable[Row]): Rows of the ledger.
    """
    rows = list(rows)
    running = {row.key: read_progress(folder / row.key) for row in rows if row.state == 'running'}
    parts: list[Text | Table] = [counts(rows, remaining_seconds(rows, running))]
    if running:
        parts.append(worker_table([row for row in rows if row.key in running], running))
    troubled = [row for row in rows if row.state in ('failed', 'stale')]
    for row in troubled[:MAX_FAILURES]:
        parts.append(Text(f'{row.state}: {row.key}: {row.error}', style=STYLES[row.state]))
    if len(troubled) > MAX_FAILURES:
        parts.append(Text(f'... and {len(troubled) - MAX_FAILURES} more'))
    return Group(*parts)


def counts(rows: list[Row], seconds: float | None) -> Text:
    """One line: how many runs are in which state, and when the study may be done."""
    tally = Counter(row.state for row in rows)
    text = Text(f'{len(rows)} runs: ')
    text.append_text(
        Text(', ').join(
            Text(f'{tally[state]} {state}', style=STYLES[state]) for state in STATES if tally[state]
        )
    )
    if seconds is not None:
        text.append(f'; about {duration(seconds)} to go')
    return text


def worker_table(rows: list[Row], progress: dict[str, Progress | None]) -> Table:
    """A line for each worker."""
    table = Table(box=None, pad_edge=False, header_style='bold')
    for name in ('run', 'phase'):
        table.add_column(name, overflow='fold')
    for name in ('iteration', 'loss', 'best val', 's/iter', 'memory', 'ETA'):
        table.add_column(name, justify='right', no_wrap=True)
    for row in rows:
        state = progress[row.key] or Progress()
        table.add_row(
            row.key,
            state.phase,
            f'{state.iter}/{state.max_iters}' if state.max_iters else '',
            '' if state.loss is None else f'{state.loss:.3g}',
            '' if state.score is None else f'{state.score:.3g}',
            '' if state.step_seconds is None else f'{state.step_seconds:.3g}',
            '' if state.memory is None else f'{state.memory / 2**30:.1f} GiB',
            duration(worker_seconds(state)) if state.step_seconds else '',
        )
    return table


def worker_seconds(state: Progress) -> float:
    """Time that a worker has to train still."""
    return (state.max_iters - state.iter) * (state.step_seconds or 0.0)


def remaining_seconds(rows: list[Row], progress: dict[str, Progress | None]) -> float | None:
    """Rough time to the end, from the mean of the finished main runs of each task and arm."""
    spent: dict[tuple, list[float]] = {}
    for row in rows:
        if row.state == 'done' and row.started and row.finished:
            spent.setdefault((row.stage, row.task, row.arm), []).append(row.finished - row.started)
    if not progress:
        return None
    total = sum(worker_seconds(state) for state in progress.values() if state)
    for row in rows:
        if row.state == 'pending':
            times = spent.get((row.stage, row.task, row.arm)) or spent.get(
                (row.stage, row.task, rows[0].arm)
            )
            if times is None:
                return None
            total += sum(times) / len(times)
    return total / len(progress)


def duration(seconds: float) -> str:
    """A time in words: ``3 h 05 min``, ``4 min 10 s``, ``12 s``."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f'{seconds // 3600} h {seconds % 3600 // 60:02d} min'
    if seconds >= 60:
        return f'{seconds // 60} min {seconds % 60:02d} s'
    return f'{seconds} s'


class Watch:
    """Shows a running study: a live table on a terminal, lines elsewhere.

    Args:
        folder (Path): The study's folder.
        ledger (Ledger): Its ledger.
        console (Console): Where to show it.
    """

    def __init__(self, folder: Path, ledger: Ledger, console: Console) -> None:
        self.folder = folder
        self.ledger = ledger
        self.console = console
        self.states = {key: row.state for key, row in ledger.rows().items()}
        self.live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Watch:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self.live.stop()

    def __call__(self) -> None:
        """Show what has changed."""
        rows = self.ledger.rows()
        for key, row in rows.items():
            if row.state != self.states.get(key):
                self.states[key] = row.state
                if row.state != 'pending':
                    self.tell(row)
        if self.console.is_terminal:
            self.live.update(overview(self.folder, rows.values()), refresh=True)

    def tell(self, row: Row) -> None:
        """One line for a run whose state has changed."""
        text = Text(f'{time.strftime("%H:%M:%S")} {row.state:<8}{row.key}', STYLES[row.state])
        if row.state == 'done' and row.started and row.finished:
            text.append(f' in {duration(row.finished - row.started)}')
        if row.error:
            text.append(f': {row.error}')
        self.console.print(text, soft_wrap=True)
