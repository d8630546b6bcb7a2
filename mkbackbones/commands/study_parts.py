"""``study pack`` and ``study merge``: a study on machines that share no disk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CommandError
from .study_setup import add_study_folder, study_folder

if TYPE_CHECKING:
    from argparse import _SubParsersAction as SubCommands

__all__ = ['add_pack_and_merge']


def add_pack_and_merge(commands: SubCommands) -> None:
    """Add the two sub-commands."""
    packer = commands.add_parser(
        'pack',
        help='write the finished runs of a study to one file',
        description='Write results, evidence, ledger rows and logs of the finished runs to one '
        'file, without any path of this machine. `study merge` takes it into another folder.',
    )
    add_study_folder(packer)
    packer.add_argument('--out', type=Path, required=True, help='a .zip file, e.g. machine1.zip')
    packer.add_argument(
        '--weights',
        action='store_true',
        help='with the weights that were tested, from which runs of other tasks may have to start',
    )
    packer.add_argument(
        '--predictions', action='store_true', help='with the predictions that reports draw'
    )
    packer.set_defaults(function=pack)
    merger = commands.add_parser(
        'merge',
        help='take the runs of such files into a folder',
        description='Take the runs of packs into the folder of a study, all or none. Runs whose '
        'config, code or data differ from what is planned there are refused, and no result is '
        'replaced. Nothing in a pack is run.',
    )
    merger.add_argument('packs', type=Path, nargs='+', metavar='FILE', help='written by study pack')
    merger.add_argument(
        '--into', type=Path, required=True, help='folder of the study; a new one is made'
    )
    merger.set_defaults(function=merge)


def pack(args: argparse.Namespace) -> None:
    """Write a pack.

    Raises:
        CommandError: There is no study, nothing to pack, or the file cannot be written.
    """
    from rich.console import Console

    from ..checkpoints.report import CheckpointError
    from ..study.packs.pack import PackError, pack_study
    from ..study.records.ledger import LedgerError

    if args.out.suffix != '.zip':
        raise CommandError(f'--out {args.out} has to end in .zip')
    console = Console(markup=False)
    try:
        with console.status('packing'):
            done, missing = pack_study(
                study_folder(args.folder), args.out, args.weights, args.predictions
            )
    except (PackError, LedgerError, CheckpointError, OSError, ValueError) as error:
        raise CommandError(error) from error
    rest = f'; {missing} planned runs are not done' if missing else ''
    size = args.out.stat().st_size / 1e6
    console.print(f'pack: {args.out}, {done} runs, {size:.1f} MB{rest}', soft_wrap=True)


def merge(args: argparse.Namespace) -> None:
    """Merge packs.

    Raises:
        CommandError: One is damaged or does not belong here.
    """
    from rich.console import Console
    from rich.table import Table

    from ..study.packs.merge import DifferentStudies, PackError, merge_packs
    from ..study.records.ledger import LedgerError

    console = Console(markup=False)
    try:
        with console.status('merging'):
            merged = merge_packs(args.packs, args.into)
    except DifferentStudies as error:
        table = Table(box=None, pad_edge=False)
        for name in ('what differs', 'runs', 'e.g.', 'here', 'in the pack', 'pack'):
            table.add_column(name, overflow='fold')
        for entry in error.differences:
            table.add_row(
                *(entry.what, str(entry.runs), entry.example),
                *(entry.here, entry.there, entry.pack),
            )
        Console(markup=False, stderr=True).print(table)
        raise CommandError(error) from error
    except (PackError, LedgerError, OSError, ValueError) as error:
        raise CommandError(error) from error
    for done in merged:
        known = f', {done.known} were here already' if done.known else ''
        device = f' ({done.device})' if done.device else ''
        console.print(f'{done.pack}: {done.taken} runs{device}{known}', soft_wrap=True)
    console.print(f'study: {args.into}; `study report` shows what is done', soft_wrap=True)
