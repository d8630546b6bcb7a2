"""Run a study: start what is not done, watch it, keep the ledger."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..define.parts import part_of
from ..define.plan import Run, Stage, plan_runs
from ..define.precision import Plan, settle_plan
from ..define.spec import StudyError
from ..prepare.prepared import PreparedStudy
from ..records.ledger import Ledger, Row, State
from ..records.plain_config import write_config
from ..records.progress import is_alive, take_lock
from ..records.results import read_info
from ..records.run_folder import ERROR, OUTPUTS, About, clean, read_error, read_output, write_json
from ..records.study_folder import FINGERPRINTS, LOCK, open_ledger, planned_in_json
from .executors import Executor, Job
from .needs import Needs

if TYPE_CHECKING:
    from ..statistics.decision import Decision

__all__ = ['Schedule', 'open_schedule']

POLL_SECONDS = 0.5
#: What to do with runs whose config, code or data have changed since they were started.
Stale = Literal['stop', 'rerun', 'keep']


@contextlib.contextmanager
def open_schedule(
    prepared: PreparedStudy, folder: Path, stale: Stale = 'stop', timing: bool | None = None
) -> Iterator[Schedule]:
    """Take hold of a study's folder.

    Args:
        prepared (PreparedStudy): The study.
        folder (Path): Its folder.
        stale (Stale): What to do with runs that are stale.
        timing (bool | None): See :func:`plan_runs`.

    Raises:
        StudyError: Another process runs the study, or there are stale runs to decide about.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder / LOCK)
    except BlockingIOError as error:
        raise StudyError(
            f'{folder} is being run by another process; `study status {folder}` shows it'
        ) from error
    except OSError as error:
        raise StudyError(f'{folder} cannot be written to: {error.strerror}') from error
    ledger, notes = open_ledger(folder)
    with contextlib.closing(lock), contextlib.closing(ledger):
        schedule = Schedule(prepared, folder, ledger, timing)
        schedule.notes += notes
        schedule.reconcile(stale)
        prepared.write_folds(folder)
        schedule.write_info()
        planned = [(run, schedule.fingerprints[key]) for key, run in schedule.runs.items()]
        write_json(folder / FINGERPRINTS, planned_in_json(planned))
        yield schedule


class Schedule:
    """The runs of a study, their states and the workers that are at it.

    Args:
        prepared (PreparedStudy): The study.
        folder (Path): Its folder.
        ledger (Ledger): Its ledger, held by this process alone.
        timing (bool | None): See :func:`plan_runs`.
    """

    def __init__(
        self, prepared: PreparedStudy, folder: Path, ledger: Ledger, timing: bool | None = None
    ) -> None:
        self.prepared = prepared
        self.folder = folder
        self.ledger = ledger
        self.runs = {run.key: run for run in plan_runs(prepared.study, timing)}
        self.fingerprints = {key: prepared.fingerprint(run) for key, run in self.runs.items()}
        self.needs = Needs(prepared, folder, self.runs)
        self.jobs: dict[str, Job] = {}
        self.orphans: set[str] = set()
        self.tried: set[str] = set()
        #: What the user should know about the study's folder.
        self.notes: list[str] = []

    # ---- what is there already

    def reconcile(self, stale: Stale) -> None:
        """Bring the ledger in line with the plan and with what lies on disk.

        Raises:
            StudyError: There are stale runs, and ``stale`` is ``stop``.
        """
        self.ledger.plan(self.runs.values())
        changed = {}
        for key, row in self.ledger.rows().items():
            row = self.restore(row)
            self.settle(row)
            difference = changes(row, self.fingerprints[key])
            if not row.fingerprint and key in self.orphans | self.finished():
                difference = 'it was started without this ledger'
            if difference and stale == 'keep':
                self.ledger.accept(key, self.fingerprints[key], difference)
                row = self.ledger.rows()[key]
                (self.folder / key).mkdir(parents=True, exist_ok=True)
                known = About.read(self.folder / key)
                machine = known.machine if known else ''
                about = About(row.fingerprint, row.kept, row.attempts, row.started, machine)
                about.save(self.folder / key)
            elif difference and key not in self.orphans:
                changed[key] = difference
        if changed and stale == 'stop':
            for key, difference in changed.items():
                self.ledger.set_state(key, 'stale', difference)
            key, difference = next(iter(changed.items()))
            raise StudyError(
                f'{len(changed)} of {len(self.runs)} runs are stale, e.g. {self.runs[key]}: '
                f'{difference}. Add --rerun-stale to repeat them, '
                '--keep-stale to take them as they are, or name another --work-dir'
            )
        for key in changed:
            shutil.rmtree(self.folder / key, ignore_errors=True)
            self.ledger.forget(key)

    def restore(self, row: Row) -> Row:
        """Complete a row that a killed process or a new ledger lacks from the run's own folder."""
        folder = self.folder / row.key
        about = About.read(folder) if not row.fingerprint else None
        if about is None:
            return row
        self.ledger.restore(row.key, about)
        return self.ledger.rows()[row.key]

    def finished(self) -> set[str]:
        """Keys of runs that have left a result or an error."""
        return {
            key
            for key, run in self.runs.items()
            if (self.folder / key / OUTPUTS[run.stage]).is_file()
            or (self.folder / key / ERROR).is_file()
        }

    def settle(self, row: Row) -> None:
        """Let what lies on disk tell the state of a run that no job of this process is at."""
        folder, error = self.folder / row.key, ''
        state: State = 'pending'
        if is_alive(folder):
            self.orphans.add(row.key)
            state = 'running'
        elif folder.is_dir():
            content, damaged = read_output(folder, row.stage)
            clean(folder, finished=content is not None)
            if damaged:
                (folder / OUTPUTS[row.stage]).unlink()
                self.notes.append(f'{folder / damaged} is damaged: the run is done again')
            elif content is not None:
                state = 'done'
            elif (words := read_error(folder)) is not None:
                state, error = 'failed', words
            elif row.state == 'failed':  # without a word of its own
                return
        if state != row.state:
            self.ledger.set_state(row.key, state, error)

    def write_info(self, num_seeds: int | None = None) -> None:
        """Write ``study.json``; ``num_seeds`` where the study ends after the first ones."""
        info = self.prepared.info()
        info.seeds = info.seeds[:num_seeds]
        info.plan = settle_plan(info.plan, self.plan_so_far(), self.started())
        kept = [row.kept for row in self.ledger.rows().values() if row.kept]
        if kept:
            info.fairness.append(
                f'{len(kept)} of {len(self.runs)} runs were kept although something had changed '
                f'since they were started, e.g. {kept[0]}.'
            )
        write_json(self.folder / 'study.json', asdict(info))

    def plan_so_far(self) -> Plan | None:
        """The plan that ``study.json`` has."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return read_info(self.folder / 'study.json').plan
        return None

    def started(self) -> int:
        """Main runs that were started so far."""
        rows = self.ledger.rows().values()
        return sum(
            row.stage == 'main' and (row.attempts > 0 or row.state == 'done') for row in rows
        )

    # ---- running

    def take_part(self, text: str) -> set[str]:
        """Leave all runs but those of one part to others; see :func:`part_of`.

        Returns:
            set[str]: Keys of the runs of the part.

        Raises:
            StudyError: It is no part, or what all parts need is not done.
        """
        done = [key for key, row in self.ledger.rows().items() if row.state == 'done']
        mine = part_of(self.prepared.study, self.runs.values(), text, done)
        self.tried |= set(self.runs) - mine
        return mine

    def run(self, executor: Executor, watch: Callable[[], None] = lambda: None) -> None:
        """Do all that can be done; each run that failed before is tried once more.

        Args:
            executor (Executor): Starts the workers.
            watch (Callable): Called twice a second.

        Raises:
            StudyError: A task asks for more GPUs than there are.
        """
        for key, task in self.prepared.study.tasks.items():
            if reason := executor.why_never(task.gpus):
                raise StudyError(f'task {key}: {reason}')
        try:
            while True:
                self.collect_ended()
                self.start_ready(executor)
                watch()
                if not self.jobs and not self.orphans:
                    return
                time.sleep(POLL_SECONDS)
        except BaseException:
            for job in self.jobs.values():
                job.cancel()
            rows = self.ledger.rows()
            for key in self.jobs:
                self.settle(rows[key])
            raise

    def run_stage(
        self, stage: Stage, executor: Executor, watch: Callable[[], None] = lambda: None
    ) -> None:
        """Do the runs of one stage alone; see :meth:`run`."""
        self.tried |= {key for key, run in self.runs.items() if run.stage != stage}
        self.run(executor, watch)

    def run_looks(
        self,
        executor: Executor,
        watch: Callable[[], None],
        look_at: Callable[[int], Decision],
    ) -> set[str]:
        """Do the seeds of one planned look after the other, until one decides the study.

        Args:
            executor (Executor): Starts the workers.
            watch (Callable): Called twice a second.
            look_at (Callable): Tells from a number of seeds whether to stop.

        Returns:
            set[str]: Keys of the runs that were not needed.
        """
        seeds = self.prepared.study.seeds
        planned = self.prepared.study.plan
        for look in () if planned is None else planned.looks:
            later = {
                key
                for key, run in self.runs.items()
                if run.stage == 'main' and run.seed in seeds[look:]
            }
            self.tried |= later
            self.run(executor, watch)
            self.tried -= later
            decision = look_at(look)
            self.notes.append(decision.sentence)
            if decision.stop:
                self.write_info(look)
                return later
        return set()

    def collect_ended(self) -> None:
        """Note the runs whose worker has ended."""
        for key, job in list(self.jobs.items()):
            reason = job.poll()
            if reason is None:
                continue
            del self.jobs[key]
            self.settle(self.ledger.rows()[key])
            if self.ledger.rows()[key].state == 'pending':  # neither result nor error
                self.ledger.set_state(key, 'failed', reason or self.last_words(key))
        for key in list(self.orphans):
            if not is_alive(self.folder / key):
                self.orphans.discard(key)
                self.settle(self.ledger.rows()[key])

    def last_words(self, key: str) -> str:
        """Last line that a worker printed."""
        log = self.folder / key / 'console.log'
        text = log.read_text(encoding='utf-8', errors='replace') if log.is_file() else ''
        lines = text.strip().splitlines()
        return lines[-1][-600:] if lines else 'the worker ended without a result'

    def start_ready(self, executor: Executor) -> None:
        """Start runs, in the order of the plan, while there are free slots."""
        rows = self.ledger.rows()
        # Timings are taken one at a time, so that they do not disturb each other.
        timing = any(self.runs[key].stage == 'timing' for key in self.jobs)
        for key, row in rows.items():
            busy = len(self.jobs) + len(self.orphans)
            if busy >= executor.slots or timing:
                return
            if row.state not in ('pending', 'failed') or key in self.tried | self.orphans:
                continue
            run = self.runs[key]
            if any(rows[need].state != 'done' for need in run.needs):
                continue
            timing = run.stage == 'timing'
            gpus = self.prepared.study.tasks[run.task].gpus
            if (timing and busy) or not executor.has_room(gpus):
                return
            self.tried.add(key)
            self.start(run, executor)

    def start(self, run: Run, executor: Executor) -> None:
        """Write the config of a run and start its worker."""
        try:
            iters, lr = self.needs.iterations(run), self.needs.learning_rate(run)
            source, teacher = self.needs.source(run), self.needs.teacher(run)
        except StudyError as error:
            self.ledger.set_state(run.key, 'failed', str(error))
            return
        cfg = self.prepared.config(run, iters, lr, source, self.folder, teacher)
        folder = self.folder / run.key
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ERROR).unlink(missing_ok=True)
        row = self.ledger.rows()[run.key]
        about = About(self.fingerprints[run.key], row.kept, row.attempts + 1, time.time())
        about.save(folder)
        write_config(folder, cfg)
        self.ledger.start(run.key, self.fingerprints[run.key])
        gpus = self.prepared.study.tasks[run.task].gpus
        self.jobs[run.key] = executor.submit(folder, gpus)


def changes(row: Row, fingerprint: dict[str, str]) -> str:
    """What has changed since a run was started, in words; empty where nothing has."""
    if not row.fingerprint:
        return ''
    return ', '.join(
        f'{name} changed ({row.fingerprint.get(name, "none")} to {fingerprint.get(name, "none")})'
        for name in {**fingerprint, **row.fingerprint}  # a run on folds has one more
        if row.fingerprint.get(name) != fingerprint.get(name)
    )
