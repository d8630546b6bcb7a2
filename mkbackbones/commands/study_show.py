"""Sub-commands of ``study`` that show what is there: status, report and compare."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CommandError
from .study_setup import add_study_folder, study_folder

if TYPE_CHECKING:
    from argparse import _SubParsersAction as SubCommands

    from rich.console import Console

__all__ = ['add_compare', 'add_report', 'add_status', 'finish']


def add_status(commands: SubCommands) -> None:
    """Add ``study status``."""
    parser = commands.add_parser('status', help='show the state of a study')
    add_study_folder(parser)
    parser.add_argument('--watch', action='store_true', help='until Ctrl-C')
    parser.set_defaults(function=status)


def add_report(commands: SubCommands) -> None:
    """Add ``study report``."""
    parser = commands.add_parser('report', help='write the report of what is done so far')
    add_study_folder(parser)
    parser.add_argument('--out', type=Path, help="folder to write to; default: the study's")
    parser.add_argument(
        '--no-examples',
        action='store_true',
        help='leave out images of the test split, where the data may not be passed on',
    )
    parser.set_defaults(function=report)


def add_compare(commands: SubCommands) -> None:
    """Add ``study compare``."""
    parser = commands.add_parser(
        'compare',
        help='two studies of the same tasks side by side',
        description='Show what two studies say of the tasks and arms that both have, and what '
        'differs in their settings: before and after a change of code, data or budget.',
    )
    parser.add_argument('first', type=Path, help='folder, or file, of the earlier study')
    parser.add_argument('second', type=Path, help='folder, or file, of the later study')
    parser.set_defaults(function=compare)


def status(args: argparse.Namespace) -> None:
    """Show the state of a study.

    Raises:
        CommandError: There is none.
    """
    import time

    from rich.console import Console
    from rich.live import Live

    from ..study.records.ledger import Ledger, LedgerError
    from ..study.records.run_folder import read_output
    from ..study.run.live import overview

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


def finish(folder: Path, console: Console, out: Path | None = None, examples: bool = True) -> None:
    """Print the means and write the report of what is done so far.

    Raises:
        CommandError: There is no study, its results contradict themselves, or the report cannot be
            written.
    """
    from ..study.records.results import load_results
    from ..study.report import write_report
    from ..study.report.console.means import means_table

    try:
        results = load_results(folder)
        for line in results.failures:
            if 'damaged' in line:
                console.print(f'note: {line}', soft_wrap=True, markup=False, highlight=False)
        console.print(means_table(results))
        with console.status('reading results') as shown:
            files = write_report(folder, out, shown.update, examples)
    except (OSError, ValueError) as error:
        raise CommandError(error) from error
    console.print(f'report: {files.page}', soft_wrap=True)


def compare(args: argparse.Namespace) -> None:
    """Show two studies side by side.

    Raises:
        CommandError: A study is missing or contradicts itself, or they have no task in common.
    """
    from rich.console import Console

    from ..study.records.results import load_results
    from ..study.report.console.side_by_side import side_by_side

    console = Console(markup=False)
    folders = [study_folder(path) for path in (args.first, args.second)]
    names = folders[0].name, folders[1].name
    if names[0] == names[1]:
        names = str(folders[0]), str(folders[1])
    try:
        with console.status('computing statistics'):
            first, second = map(load_results, folders)
            found = side_by_side(first, second, names)
    except (OSError, ValueError) as error:
        raise CommandError(error) from error
    console.print(found)
