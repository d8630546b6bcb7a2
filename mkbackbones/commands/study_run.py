"""Sub-commands of ``study`` that start runs: run, resume and plan."""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CommandError
from .study_setup import build_executor, read_and_prepare, starting, study_work_dir
from .study_show import finish

if TYPE_CHECKING:
    from argparse import _SubParsersAction as SubCommands
    from collections.abc import Callable

    from rich.console import Console

    from ..study.prepare.prepared import PreparedStudy
    from ..study.run.executors import Executor

__all__ = ['add_run_and_plan', 'run_prepared']


def add_run_and_plan(commands: SubCommands) -> None:
    """Add the sub-commands that start runs."""
    add_run(commands, 'run', 'start what is not done yet, and go on with what was stopped', run)
    add_run(commands, 'resume', 'the same as run', run)
    add_run(commands, 'plan', 'print the runs and how long they take, from a short timing', plan)


def add_run(
    commands: SubCommands, name: str, help: str, function: Callable[[argparse.Namespace], None]
) -> None:
    """Add a sub-command that takes a study file and an executor."""
    parser = commands.add_parser(name, help=help, description=help)
    parser.add_argument('study', help='path of a study file, or the name of a shipped one')
    parser.add_argument(
        '--work-dir', type=Path, help="the study's folder; default ./work_dirs/studies/<its name>"
    )
    parser.add_argument(
        '--executor', choices=['local', 'slurm', 'ray'], default='local', help='default: local'
    )
    parser.add_argument(
        '--slots',
        type=int,
        help='runs at the same time: for each GPU, or in all without one (default 1); '
        'for slurm, jobs in the queue (default 64)',
    )
    parser.add_argument(
        '--device', choices=['auto', 'cpu', 'cuda'], default='auto', help='default: GPUs if any'
    )
    parser.add_argument('--ray-address', help='of a running cluster; default: start one here')
    parser.add_argument(
        '--slurm',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='options of sbatch, e.g. partition=gpu time=600',
    )
    if name != 'plan':
        parser.add_argument(
            '--until',
            choices=['decided'],
            help='start no more seeds after a look, of those that the study file plans, at which '
            'every comparison is decided; default: all seeds',
        )
    parser.add_argument(
        '--verify',
        action='store_true',
        help='read all data for its hash, also where no file has another size or time of change '
        'than the last time',
    )
    parser.add_argument('--dry-run', action='store_true', help='the same as plan')
    if name != 'plan':
        parser.add_argument(
            '--part',
            metavar='I/N',
            help='do one of N shares alone, e.g. 2/4, on machines that share no disk; first: what '
            'all shares need (trials, timings)',
        )
    if name == 'plan':
        timed = parser.add_mutually_exclusive_group()
        timed.add_argument(
            '--untimed',
            action='store_true',
            help='check everything and print the runs, without timing them: for a study that is '
            'for another machine',
        )
        timed.add_argument(
            '--measure',
            nargs='?',
            const='',
            metavar='TASK',
            help='train a task (default: the first) in 1, 2, 4, ... processes a device at the '
            'same time, and recommend a number for --slots',
        )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        '--rerun-stale',
        dest='stale',
        action='store_const',
        const='rerun',
        default='stop',
        help='repeat runs whose config, code or data have changed',
    )
    choice.add_argument(
        '--keep-stale',
        dest='stale',
        action='store_const',
        const='keep',
        help='take runs whose config, code or data have changed as they are',
    )
    parser.set_defaults(function=function, gpus=None, launcher='none', local_rank=None)


def run(args: argparse.Namespace) -> None:
    """Run a study and print what came out.

    Raises:
        CommandError: The study cannot run, or some of its runs failed.
    """
    if args.dry_run:
        plan(args)
        return
    from rich.console import Console

    console = Console(markup=False)
    if args.part is not None:
        check_part(args.part)
    with starting(args) as executor:
        prepared = read_and_prepare(args, console)
        folder = study_work_dir(args, prepared)
        failed = run_prepared(prepared, folder, args, console, executor)
    finish(folder, console)
    if failed:
        raise CommandError(
            f'{failed} runs are not done; `python -m mkbackbones study status {folder}` tells why, '
            'and the same command again goes on with them'
        )


def check_part(text: str) -> None:
    """Raise CommandError unless a text names a part, before any long work."""
    from ..study.define.parts import parse_part
    from ..study.define.spec import StudyError

    try:
        parse_part(text)
    except StudyError as error:
        raise CommandError(error) from error


def run_prepared(
    prepared: PreparedStudy,
    folder: Path,
    args: argparse.Namespace,
    console: Console,
    executor: Executor | None = None,
) -> int:
    """Run a checked study in a folder; return how many runs are not done.

    Args:
        prepared (PreparedStudy): The study.
        folder (Path): Its folder.
        args (Namespace): Arguments of the command.
        console (Console): Where to show it.
        executor (Executor | None): Starts the workers; None for what the arguments ask for.

    Raises:
        CommandError: Another process is at it, or there are stale runs to decide about.
    """
    from ..study.define.spec import StudyError
    from ..study.run.live import Watch
    from ..study.run.schedule import open_schedule

    part = getattr(args, 'part', None)
    if args.until == 'decided' and part:
        raise CommandError(
            f'--until decided looks at the results of all parts, and --part {part} has some of '
            'them; leave one of the two out'
        )
    if args.until == 'decided' and not (prepared.study.plan and prepared.study.plan.looks):
        raise CommandError(
            '--until decided takes looks that the study file plans, e.g. '
            'plan=dict(margin=0.5, looks=[5, 10, 15, 20])'
        )
    executor = executor or build_executor(args, folder)
    console.print(f'study: {folder}', soft_wrap=True)
    try:
        with (
            contextlib.closing(executor),
            open_schedule(prepared, folder, args.stale) as schedule,
            Watch(folder, schedule.ledger, console) as watch,
        ):
            for line in [*prepared.notes, *schedule.notes, *executor.notes]:
                console.print(f'note: {line}', soft_wrap=True, markup=False, highlight=False)
            mine = schedule.take_part(part) if part else set(schedule.runs)
            if args.until == 'decided':
                from ..study.statistics.decision import decided  # with it comes SciPy

                count = len(schedule.notes)
                mine -= schedule.run_looks(executor, watch, lambda look: decided(folder, look))
                for line in schedule.notes[count:]:
                    console.print(line, soft_wrap=True, markup=False, highlight=False)
            else:
                schedule.run(executor, watch)
            rows = schedule.ledger.rows()
    except StudyError as error:
        raise CommandError(error) from error
    except (OSError, sqlite3.OperationalError) as error:  # a full disk, a folder that was removed
        raise CommandError(
            f'{folder}: {error}; the same command goes on from what is there'
        ) from error
    except KeyboardInterrupt:
        console.print('stopped; the same command goes on from the last checkpoints')
        raise
    return sum(rows[key].state != 'done' for key in mine)


def plan(args: argparse.Namespace) -> None:
    """Print what ``run`` would do, and how long it takes here.

    Raises:
        CommandError: The study cannot run.
    """
    import tempfile

    from rich.console import Console

    from ..study.define.spec import StudyError
    from ..study.report.console.folds_table import folds_table
    from ..study.run.estimate import estimate_table, runs_table
    from ..study.run.live import Watch
    from ..study.run.schedule import open_schedule

    console = Console(markup=False)
    prepared = read_and_prepare(args, console)
    for line in prepared.notes:
        console.print(f'note: {line}', soft_wrap=True, markup=False, highlight=False)
    if prepared.study.plan:
        console.print(f'plan: {prepared.study.plan.in_words()}', soft_wrap=True, highlight=False)
    if prepared.folds:
        console.print(folds_table(prepared))
    with tempfile.TemporaryDirectory(prefix='mkbackbones-plan-') as folder:
        if getattr(args, 'measure', None) is not None:
            from .study_measure import measure_throughput

            target = study_work_dir(args, prepared)
            measure_throughput(args, prepared, Path(folder), target, console)
            return
        if getattr(args, 'untimed', False):
            with open_schedule(prepared, Path(folder), timing=False) as schedule:
                console.print(runs_table(schedule))
            return
        executor = build_executor(args, Path(folder))
        try:
            with (
                contextlib.closing(executor),
                open_schedule(prepared, Path(folder), timing=True) as schedule,
                Watch(Path(folder), schedule.ledger, console) as watch,
            ):
                schedule.run_stage('timing', executor, watch)
                console.print(estimate_table(schedule, executor.slots))
        except StudyError as error:
            raise CommandError(error) from error
