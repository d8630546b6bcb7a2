"""How long a study takes, from a short timing of every task and arm."""

from __future__ import annotations

from rich.table import Table

from ..define.plan import Run
from ..prepare.configs import TIMED_ITERATIONS
from .live import duration
from .schedule import Schedule

__all__ = ['estimate_table', 'run_seconds', 'runs_table']


def run_seconds(schedule: Schedule, run: Run) -> float:
    """Estimated time of a run: training, validations and the test.

    Args:
        schedule (Schedule): A schedule whose timings are done.
        run (Run): A trial or a main run.
    """
    prepared = schedule.prepared
    timing = schedule.needs.output(Run('timing', run.task, run.arm, prepared.study.seeds[0]))
    cfg = prepared.config(run, schedule.needs.iterations(run))
    images = prepared.tasks[run.task].num_images
    iters = cfg.train_cfg.max_iters
    validations = -(-iters // cfg.train_cfg.get('val_interval', iters))
    predicted = validations * images['val'] + (images['test'] if run.stage == 'main' else 0)
    seconds = iters * timing['step_seconds'] + predicted * timing['inference_seconds']
    return start_seconds(schedule, run) + seconds


def start_seconds(schedule: Schedule, run: Run) -> float:
    """Time that a worker takes beside training and predicting: imports, building, first steps."""
    timing = Run('timing', run.task, run.arm, schedule.prepared.study.seeds[0])
    row = schedule.ledger.rows()[timing.key]
    steps = TIMED_ITERATIONS * schedule.needs.output(timing)['step_seconds']
    if row.started is None or row.finished is None:
        return 0.0
    return max(row.finished - row.started - steps, 0.0)


def empty_table(schedule: Schedule, *numbers: str) -> Table:
    """A table with a line for each task and arm to come."""
    study = schedule.prepared.study
    table = Table(title=f'{study.name}: {study.question}', box=None)
    for name in ('task', 'arm'):
        table.add_column(name)
    for name in ('runs', 'iterations', *numbers):
        table.add_column(name, justify='right')
    return table


def runs_of(schedule: Schedule, task: str, arm: str) -> list[Run]:
    """Trials and main runs of a task and arm."""
    return [
        run
        for run in schedule.runs.values()
        if (run.task, run.arm) == (task, arm) and run.stage != 'timing'
    ]


def runs_table(schedule: Schedule) -> Table:
    """The plan without its times: a line for each task and arm, and what a run may spend.

    Args:
        schedule (Schedule): A schedule, of which nothing need be done.
    """
    study = schedule.prepared.study
    table = empty_table(schedule)
    count = 0
    for task in study.tasks:
        for arm in study.arms_of(task):
            runs = runs_of(schedule, task, arm)
            main = next(run for run in runs if run.stage == 'main')
            iters = schedule.prepared.planned_iterations(main)
            told = f'{study.budget.minutes:g} minutes' if iters is None else f'{iters:,}'
            count += len(runs)
            table.add_row(task, study.arms[arm].label, str(len(runs)), told)
    table.caption = f'{count} runs; without --untimed, a short timing of each tells how long'
    return table


def estimate_table(schedule: Schedule, slots: int) -> Table:
    """The plan: a line for each task and arm, and the sum.

    Args:
        schedule (Schedule): A schedule whose timings are done.
        slots (int): Runs at the same time.
    """
    study = schedule.prepared.study
    table = empty_table(schedule, 's/iter', 'memory', 'a run', 'all runs')
    total = 0.0
    for task in study.tasks:
        for arm in study.arms_of(task):
            runs = runs_of(schedule, task, arm)
            timing = Run('timing', task, arm, study.seeds[0])
            name = study.arms[arm].label
            if schedule.ledger.rows()[timing.key].state != 'done':
                error = schedule.ledger.rows()[timing.key].error
                table.add_row(task, name, str(len(runs)), '', '', '', '', error)
                continue
            main = next(run for run in runs if run.stage == 'main')
            cfg = schedule.prepared.config(main, schedule.needs.iterations(main))
            iters = cfg.train_cfg.max_iters
            found = schedule.needs.output(timing)
            seconds = sum(run_seconds(schedule, run) for run in runs)
            total += seconds
            memory = found['peak_memory']
            table.add_row(
                task,
                name,
                str(len(runs)),
                f'{iters:,}',
                f'{found["step_seconds"]:.3g}',
                f'{memory / 2**30:.1f} GiB' if memory else '',
                duration(run_seconds(schedule, main)),
                f'{seconds / 3600:.2f} h',
            )
    failed = sum(
        schedule.ledger.rows()[key].state != 'done'
        for key, run in schedule.runs.items()
        if run.stage == 'timing'
    )
    num_runs = sum(run.stage != 'timing' for run in schedule.runs.values())
    table.caption = (
        f'{num_runs} runs, {total / 3600:.1f} device hours one after the other; with {slots} at '
        f'the same time about {duration(total / slots)} if they do not slow each other down'
    )
    if failed:
        table.caption = f'{num_runs} runs; no total, as {failed} timings failed (see above)'
    return table
