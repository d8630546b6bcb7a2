"""``python -m mkbackbones study``: arms x tasks x seeds from one file, and what came out."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CommandError, run_command
from .launch import select_device
from .study_numbers import add_export, add_power, study_folder
from .study_parts import add_pack_and_merge

if TYPE_CHECKING:
    from rich.console import Console

    from ..study.executors import Executor
    from ..study.prepared import PreparedStudy

EXAMPLES = """
examples:
  python -m mkbackbones study plan configs/studies/neu_scratch.py
  python -m mkbackbones study plan configs/studies/neu_scratch.py --measure
  python -m mkbackbones study run configs/studies/neu_scratch.py --slots 3
  python -m mkbackbones study run my_planned_study.py --until decided
  python -m mkbackbones study status work_dirs/studies/neu_scratch
  python -m mkbackbones study report work_dirs/studies/neu_scratch
  python -m mkbackbones study compare work_dirs/studies/before work_dirs/studies/after
  python -m mkbackbones study export work_dirs/studies/neu_scratch --out numbers.csv
  python -m mkbackbones study export work_dirs/studies/neu_scratch --evidence evidence
  python -m mkbackbones study power configs/studies/neu_scratch.py --effect AP=1
  python -m mkbackbones study run my_study.py --executor slurm --slurm partition=gpu
  python -m mkbackbones study run my_study.py --part 1/2
  python -m mkbackbones study pack work_dirs/studies/my_study --out first_half.zip
  python -m mkbackbones study merge first_half.zip second_half.zip --into work_dirs/studies/both
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser, one sub-command for each thing to do with a study."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones study',
        description='Train every arm on every task with every seed, fairly, and compare.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    add_run(commands, 'run', 'start what is not done yet, and go on with what was stopped', run)
    add_run(commands, 'resume', 'the same as run', run)
    add_run(commands, 'plan', 'print the runs and how long they take, from a short timing', plan)
    status_parser = commands.add_parser('status', help='show the state of a study')
    status_parser.add_argument('folder', type=Path, help="the study's folder, or its file")
    status_parser.add_argument('--watch', action='store_true', help='until Ctrl-C')
    status_parser.set_defaults(function=status)
    report_parser = commands.add_parser('report', help='write the report of what is done so far')
    report_parser.add_argument('folder', type=Path, help="the study's folder, or its file")
    report_parser.add_argument('--out', type=Path, help="folder to write to; default: the study's")
    report_parser.add_argument(
        '--no-examples',
        action='store_true',
        help='leave out images of the test split, where the data may not be passed on',
    )
    report_parser.set_defaults(function=report)
    compare_parser = commands.add_parser(
        'compare',
        help='two studies of the same tasks side by side',
        description='Show what two studies say of the tasks and arms that both have, and what '
        'differs in their settings: before and after a change of code, data or budget.',
    )
    compare_parser.add_argument('first', type=Path, help='folder, or file, of the earlier study')
    compare_parser.add_argument('second', type=Path, help='folder, or file, of the later study')
    compare_parser.set_defaults(function=compare)
    add_export(commands)
    add_power(commands)
    add_pack_and_merge(commands)
    return parser


def add_run(commands, name: str, help: str, function) -> None:  # noqa: ANN001
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
        parser.add_argument(
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


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), lambda args: args.function(args), argv)


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
    if args.part:
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
    from ..study.parts import parse_part
    from ..study.spec import StudyError

    try:
        parse_part(text)
    except StudyError as error:
        raise CommandError(error) from error


@contextlib.contextmanager
def starting(args: argparse.Namespace) -> Iterator[Executor | None]:
    """Workers get ready, or Ray is asked whether it is there, before the study is read.

    Raises:
        CommandError: A flag is wrong.
    """
    select_device(args)
    if args.executor == 'slurm':  # its jobs keep their logs in the study's folder
        yield None
        return
    with contextlib.closing(build_executor(args, Path())) as executor:
        yield executor


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
    from ..study.live import Watch
    from ..study.schedule import open_schedule
    from ..study.spec import StudyError
    from ..study.statistics.decision import decided

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


def finish(folder: Path, console: Console, out: Path | None = None, examples: bool = True) -> None:
    """Print the means and write the report of what is done so far.

    Raises:
        CommandError: There is no study, its results contradict themselves, or the report cannot be
            written.
    """
    from ..study.means import means_table
    from ..study.report import write_report
    from ..study.results import load_results

    try:
        results = load_results(folder)
        for line in results.failures:
            if 'damaged' in line:
                console.print(f'note: {line}', soft_wrap=True, markup=False, highlight=False)
        console.print(means_table(results))
        with console.status('reading results') as line:
            files = write_report(folder, out, line.update, examples)
    except (OSError, ValueError) as error:
        raise CommandError(error) from error
    console.print(f'report: {files.page}', soft_wrap=True)


def plan(args: argparse.Namespace) -> None:
    """Print what ``run`` would do, and how long it takes here.

    Raises:
        CommandError: The study cannot run.
    """
    import tempfile

    from rich.console import Console

    from ..study.estimate import estimate_table
    from ..study.folds_table import folds_table
    from ..study.live import Watch
    from ..study.schedule import open_schedule
    from ..study.spec import StudyError

    console = Console(markup=False)
    prepared = read_and_prepare(args, console)
    for line in prepared.notes:
        console.print(f'note: {line}', soft_wrap=True, markup=False, highlight=False)
    if prepared.folds:
        console.print(folds_table(prepared))
    with tempfile.TemporaryDirectory(prefix='mkbackbones-plan-') as folder:
        if getattr(args, 'measure', None) is not None:
            from .study_measure import measure_throughput

            target = study_work_dir(args, prepared)
            measure_throughput(args, prepared, Path(folder), target, console)
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


def study_work_dir(args: argparse.Namespace, prepared: PreparedStudy) -> Path:
    """The folder that the arguments, or the study's name, give."""
    return args.work_dir or Path('work_dirs/studies') / prepared.study.name


def status(args: argparse.Namespace) -> None:
    """Show the state of a study.

    Raises:
        CommandError: There is none.
    """
    import time

    from rich.console import Console
    from rich.live import Live

    from ..study.ledger import Ledger, LedgerError
    from ..study.live import overview
    from ..study.run_folder import read_output

    folder = study_folder(args.folder)
    try:
        ledger = Ledger(folder, read_only=True)
    except FileNotFoundError as error:
        raise CommandError(error) from error
    except LedgerError as error:
        raise CommandError(f'{error}; `study run` makes it again from the runs') from error
    with contextlib.closing(ledger):
        console = Console(markup=False)
        if not args.watch:
            rows = ledger.rows().values()
            console.print(overview(folder, rows))
            for row in rows:
                if row.state == 'done' and read_output(folder / row.key, row.stage)[0] is None:
                    console.print(
                        f'note: the result in {folder / row.key} is damaged or gone; `study run` '
                        'does the run again',
                        soft_wrap=True,
                    )
            return
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(overview(folder, ledger.rows().values()), refresh=True)
                time.sleep(1)


def report(args: argparse.Namespace) -> None:
    """Write the report of a study, finished or not."""
    from rich.console import Console

    finish(study_folder(args.folder), Console(markup=False), args.out, not args.no_examples)


def compare(args: argparse.Namespace) -> None:
    """Show two studies side by side.

    Raises:
        CommandError: A study is missing or contradicts itself, or they have no task in common.
    """
    from rich.console import Console

    from ..study.results import load_results
    from ..study.side_by_side import side_by_side

    console = Console(markup=False)
    folders = [study_folder(path) for path in (args.first, args.second)]
    names = tuple(folder.name for folder in folders)
    if names[0] == names[1]:
        names = tuple(map(str, folders))
    try:
        with console.status('computing statistics'):
            found = side_by_side(*map(load_results, folders), names)
    except (OSError, ValueError) as error:
        raise CommandError(error) from error
    console.print(found)


def read_and_prepare(
    args: argparse.Namespace, console: Console, iters: int | None = None
) -> PreparedStudy:
    """Read and check a study file; ``iters`` takes the place of its budget.

    Raises:
        CommandError: It cannot run.
    """
    from .config_files import find_config

    select_device(args)
    path = find_config(args.study)
    with console.status('reading the study') as line:
        from ..study.prepared import prepare_study
        from ..study.spec import Budget, StudyError, read_study

        try:
            # Libraries print while they read annotations.
            with contextlib.redirect_stdout(io.StringIO()):
                study = read_study(path)
                if iters is not None:
                    study = dataclasses.replace(study, budget=Budget(iters=iters))
                return prepare_study(study, line.update, getattr(args, 'verify', False))
        except StudyError as error:
            raise CommandError(error) from error


def build_executor(args: argparse.Namespace, folder: Path) -> Executor:
    """The executor that the arguments ask for.

    Raises:
        CommandError: A flag is wrong, or a library is missing.
    """
    from ..study.executors import LocalExecutor, RayExecutor, SlurmExecutor

    if args.slots is not None and args.slots < 1:
        raise CommandError(f'--slots {args.slots} is too few; give at least 1')
    try:
        if args.executor == 'ray':
            return RayExecutor(args.ray_address, args.slots or 1)
        if args.executor == 'slurm':
            options = {}
            for option in args.slurm:
                key, equals, value = option.partition('=')
                if not equals:
                    raise CommandError(f'--slurm {option} is not of the form KEY=VALUE')
                options[f'slurm_{key}'] = int(value) if value.isdigit() else value
            return SlurmExecutor(folder / 'slurm', args.slots or 64, options)
    except ConnectionError as error:
        raise CommandError(f'--ray-address {args.ray_address}: {error}') from error
    except (ModuleNotFoundError, RuntimeError) as error:
        raise CommandError(
            f'--executor {args.executor}: {error}; pip install "mkbackbones[cluster]", and run it '
            'where the scheduler is'
        ) from error
    return LocalExecutor(args.slots or 1, [] if args.device == 'cpu' else None, warm=True)
