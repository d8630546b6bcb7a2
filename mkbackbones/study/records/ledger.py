"""The ledger: a row a run, in SQLite. One process writes it, any number may read."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ..define.plan import Run, Stage
from .run_folder import About

__all__ = ['STATES', 'Ledger', 'LedgerError', 'Row', 'State']

State = Literal['pending', 'running', 'done', 'failed', 'stale']
STATES: tuple[State, ...] = get_args(State)
FILE = 'ledger.sqlite'
SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    key TEXT PRIMARY KEY,
    stage TEXT NOT NULL,
    task TEXT NOT NULL,
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    lr REAL,
    position INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed', 'stale')),
    error TEXT NOT NULL DEFAULT '',
    fingerprint TEXT NOT NULL DEFAULT '',
    kept TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    started REAL,
    finished REAL
)
"""


class LedgerError(ValueError):
    """The ledger's file is damaged; a study that is run makes it again from its runs' folders."""


@dataclass(frozen=True)
class Row:
    """A run in the ledger.

    Args:
        key (str): Key of the run.
        stage (str): Its stage.
        task (str): Its task.
        arm (str): Its arm.
        seed (int): Its seed.
        lr (float | None): Learning rate of a trial.
        state (State): How far it is.
        error (str): Why it failed or is stale.
        fingerprint (dict[str, str]): Of what it was started with; empty before.
        attempts (int): How often it was started.
        started (float | None): When it was last started, in seconds since 1970.
        finished (float | None): When it finished.
        kept (str): What had changed since it was started when it was taken as it is.
    """

    key: str
    stage: Stage
    task: str
    arm: str
    seed: int
    lr: float | None
    state: State
    error: str
    fingerprint: dict[str, str]
    attempts: int
    started: float | None
    finished: float | None
    kept: str = ''


class Ledger:
    """Rows of a study's runs.

    Args:
        folder (Path): The study's folder.
        read_only (bool): Open for looking alone.

    Raises:
        FileNotFoundError: There is no ledger to look at.
        LedgerError: The file is damaged.
    """

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        path = folder / FILE
        if read_only and not path.is_file():
            raise FileNotFoundError(f'{folder} holds no study that was started: {FILE} is missing')
        try:
            self.open(path, read_only)
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:  # text that is none, too
            if isinstance(error, sqlite3.OperationalError) and 'locked' in str(error):
                raise
            self.connection.close()
            reason = ' '.join(str(error).split())[:200]
            raise LedgerError(f'{path} cannot be read: {reason}') from error

    def open(self, path: Path, read_only: bool) -> None:
        """Open the file, and read all of it once."""
        self.connection = sqlite3.connect(path, timeout=30)
        self.connection.row_factory = sqlite3.Row
        if not read_only:
            # Readers do not wait for the writer, and a killed writer leaves a whole file.
            self.connection.execute('PRAGMA journal_mode=WAL')
            # What a power cut takes from the last seconds is on disk in the runs' own folders.
            self.connection.execute('PRAGMA synchronous=NORMAL')
            with self.transaction() as cursor:
                cursor.execute(SCHEMA)
        if self.connection.execute('PRAGMA quick_check').fetchone()[0] != 'ok':
            raise sqlite3.DatabaseError('its pages are damaged')
        self.rows()

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """All changes, or none."""
        with self.connection:
            yield self.connection.cursor()

    def plan(self, runs: Iterable[Run]) -> None:
        """Enter runs that are not there yet, and note the order of all.

        Rows of runs that are no longer planned are kept, unseen, in case they are again.
        """
        with self.transaction() as cursor:
            cursor.execute('UPDATE runs SET position = -1')
            for position, run in enumerate(runs):
                cursor.execute(
                    'INSERT INTO runs (key, stage, task, arm, seed, lr, position, state) '
                    "VALUES (?, ?, ?, ?, ?, ?, ?, 'pending') "
                    'ON CONFLICT (key) DO UPDATE SET position = excluded.position',
                    (run.key, run.stage, run.task, run.arm, run.seed, run.lr, position),
                )

    def rows(self) -> dict[str, Row]:
        """The rows of planned runs by key, in the order of the plan."""
        found = {}
        for row in self.connection.execute(
            'SELECT * FROM runs WHERE position >= 0 ORDER BY position'
        ):
            content = {key: row[key] for key in row.keys() if key != 'position'}  # noqa: SIM118
            fingerprint = json.loads(row['fingerprint'] or '{}')
            if not isinstance(fingerprint, dict) or row['state'] not in STATES:
                raise ValueError(f'the row of {row["key"]} is damaged')
            found[row['key']] = Row(**content | {'fingerprint': fingerprint})
        return found

    def start(self, key: str, fingerprint: dict[str, str]) -> None:
        """A worker is about to start."""
        with self.transaction() as cursor:
            cursor.execute(
                "UPDATE runs SET state = 'running', error = '', fingerprint = ?, started = ?, "
                'attempts = attempts + 1 WHERE key = ?',
                (json.dumps(fingerprint), time.time(), key),
            )

    def set_state(self, key: str, state: State, error: str = '') -> None:
        """A run has changed its state."""
        finished = time.time() if state in ('done', 'failed') else None
        with self.transaction() as cursor:
            cursor.execute(
                'UPDATE runs SET state = ?, error = ?, finished = coalesce(?, finished) '
                'WHERE key = ?',
                (state, error, finished, key),
            )

    def forget(self, key: str) -> None:
        """Make a run as if it had never been started."""
        with self.transaction() as cursor:
            cursor.execute(
                "UPDATE runs SET state = 'pending', error = '', fingerprint = '', kept = '', "
                'attempts = 0, started = NULL, finished = NULL WHERE key = ?',
                (key,),
            )

    def restore(self, key: str, about: About) -> None:
        """Enter what a run's own folder tells about it."""
        with self.transaction() as cursor:
            cursor.execute(
                'UPDATE runs SET fingerprint = ?, kept = ?, attempts = ?, started = ? '
                'WHERE key = ?',
                (json.dumps(about.fingerprint), about.kept, about.attempts, about.started, key),
            )

    def take_over(self, key: str, about: About, finished: float | None) -> None:
        """Enter a finished run that was done elsewhere."""
        self.restore(key, about)
        with self.transaction() as cursor:
            cursor.execute(
                "UPDATE runs SET state = 'done', error = '', finished = ? WHERE key = ?",
                (finished, key),
            )

    def accept(self, key: str, fingerprint: dict[str, str], difference: str) -> None:
        """Take a run as it is for one of today's fingerprint, and keep in mind what differs."""
        with self.transaction() as cursor:
            cursor.execute(
                "UPDATE runs SET fingerprint = ?, kept = trim(kept || '; ' || ?, '; ') "
                'WHERE key = ?',
                (json.dumps(fingerprint), difference, key),
            )
