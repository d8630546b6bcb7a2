"""``python -m mkbackbones prepare-dataset``: write a defect data set for mmdet and mmseg."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..datasets.catalogue import CATALOGUE, Entry
from ..datasets.errors import DatasetError, FileFault
from ..datasets.fingerprint import fingerprint, is_current
from ..datasets.instances import INSTANCE_RULES, MIN_AREA
from ..datasets.records import Converter
from ..datasets.splitting import METHODS, Splitter, load_groups
from ..datasets.summary import Summary, print_summary
from .errors import CommandError, run_command

if TYPE_CHECKING:
    from argparse import _SubParsersAction as SubCommands

__all__ = ['main']


def main(argv: list[str] | None = None) -> int:
    """Run the command; after an error nothing has been written.

    Args:
        argv (list[str] | None): Arguments without the program's name; None takes ``sys.argv``.

    Returns:
        int: The exit code.
    """
    return run_command(build_parser(), prepare, argv)


def prepare(args: argparse.Namespace) -> None:
    """Convert or generate the data set that the parsed arguments name, and print its counts.

    Raises:
        CommandError: The source or the output cannot be used.
    """
    entry = CATALOGUE[args.dataset]
    sources = [
        getattr(args, item.keyword)
        for item in entry.arguments
        if item.is_source and getattr(args, item.keyword) is not None
    ]
    _check_sources(sources, args.out)
    if args.min_area is not None and args.instances != 'components':
        raise CommandError('--min-area goes with --instances components')
    if args.boxes_as_polygons and args.instances == 'boxes':
        raise CommandError('--boxes-as-polygons makes masks, --instances boxes drops them')
    try:
        splitter = _splitter(args)
        mark = fingerprint(_options(args, entry, splitter), sources)
        if not args.overwrite and is_current(args.out, mark):
            print(f'{args.out} is up to date')
            return
        converter = entry.make(vars(args), skip_bad=args.skip_bad)
        info = dict(
            name=args.dataset,
            source=[path.name for path in sources],
            palette=entry.palette or _made_palette(converter),
            fingerprint=mark,
        )
        summary = _write(converter, splitter, info, args)
    except FileFault as error:
        raise CommandError(f'{error}; --skip-bad leaves such images out') from error
    except DatasetError as error:
        raise CommandError(error) from error
    except OSError as error:
        raise CommandError(f'{error.filename or args.out}: {error.strerror}') from error
    print_summary(summary, f'{args.dataset}: {args.out}')


def _check_sources(sources: list[Path], out: Path) -> None:
    """Refuse an output folder that holds the source or lies in it."""
    out = out.resolve()
    for source in sources:
        if source.resolve().is_relative_to(out):
            raise CommandError(f'the source {source} lies in the output folder {out}')
        if source.is_dir() and out.is_relative_to(source.resolve()):
            raise CommandError(
                f'the output folder {out} lies in the source {source}: name one outside of it'
            )


def _splitter(args: argparse.Namespace) -> Splitter:
    if not CATALOGUE[args.dataset].can_be_split:
        return Splitter()
    return Splitter(
        args.split,
        ratios=tuple(args.ratios),
        seed=args.split_seed,
        group_regex=args.group_regex,
        groups=None if args.groups is None else load_groups(args.groups),
        val_from_train=args.val_from_train,
    )


def _options(args: argparse.Namespace, entry: Entry, splitter: Splitter) -> dict:
    """What the output depends on, beside the content of the sources."""
    own = {
        item.keyword: str(getattr(args, item.keyword))
        for item in entry.arguments
        if not item.is_source
    }
    return dict(
        dataset=args.dataset,
        own=own,
        split=splitter.describe(),
        groups=None if splitter.groups is None else dict(splitter.groups),
        instances=args.instances,
        min_area=args.min_area,
        boxes_as_polygons=args.boxes_as_polygons,
        skip_bad=args.skip_bad,
    )


def _made_palette(converter: Converter) -> list[tuple[int, int, int]]:
    from ..datasets.palette import make_palette

    return make_palette(len(converter.classes))


def _write(
    converter: Converter, splitter: Splitter, info: dict, args: argparse.Namespace
) -> Summary:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from ..datasets.writer import write_dataset

    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(args.dataset, total=len(converter))
        return write_dataset(
            converter,
            args.out,
            splitter=splitter,
            instances=args.instances,
            min_area=MIN_AREA if args.min_area is None else args.min_area,
            boxes_as_polygons=args.boxes_as_polygons,
            overwrite=args.overwrite,
            skip_bad=args.skip_bad,
            info=info,
            on_record=lambda: progress.advance(task),
        )


def build_parser() -> argparse.ArgumentParser:
    """Build the parser, one sub-command a data set."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones prepare-dataset',
        description='Write a defect data set in the layout that mmdet and mmseg read.',
        epilog='example:\n  python -m mkbackbones prepare-dataset neu-det '
        + CATALOGUE['neu-det'].example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='dataset', required=True, metavar='DATASET')
    for name, entry in CATALOGUE.items():
        _add_dataset(commands, name, entry)
    return parser


def _add_dataset(commands: SubCommands, name: str, entry: Entry) -> None:
    parser = commands.add_parser(
        name,
        help=entry.help,
        description=entry.help,
        epilog=f'example:\n  python -m mkbackbones prepare-dataset {name} {entry.example}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for item in entry.arguments:
        parser.add_argument(item.flag, help=item.help, **item.options)
    parser.add_argument('--out', type=Path, required=True, help='folder to create')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a non-empty output folder'
    )
    parser.add_argument(
        '--skip-bad', action='store_true', help='leave out, and list, files with a fault'
    )
    if entry.can_be_split:
        _add_split_arguments(parser)
    instances = parser.add_argument_group('instances')
    instances.add_argument(
        '--instances',
        choices=INSTANCE_RULES,
        default='source',
        help='as the source has them (default); connected components of the class map; all '
        'pixels of a class as one; or boxes alone, without masks',
    )
    instances.add_argument(
        '--min-area',
        type=int,
        metavar='PIXELS',
        help=f'smallest of the --instances components; default: {MIN_AREA}',
    )
    instances.add_argument(
        '--boxes-as-polygons',
        action='store_true',
        help='boxes without a mask get the mask of their rectangle; otherwise mask models of mmdet '
        'ignore them in training, and mmseg ignores their pixels',
    )


def _add_split_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('split')
    group.add_argument(
        '--split',
        choices=METHODS,
        default='official',
        help='as published (default); image by image; or keeping groups of images together; the '
        'last two give every split its share of every class',
    )
    group.add_argument(
        '--ratios',
        type=float,
        nargs=3,
        default=Splitter.ratios,
        metavar=('TRAIN', 'VAL', 'TEST'),
        help='parts for the random and the group split; default: 0.7 0.1 0.2',
    )
    group.add_argument(
        '--seed',
        dest='split_seed',
        type=int,
        default=0,
        metavar='N',
        help='another split of the same kind; default: 0',
    )
    group.add_argument(
        '--group-regex',
        metavar='REGEX',
        help="what it captures in a file's stem names the group, e.g. '^(.*)_[0-9]+$'",
    )
    group.add_argument(
        '--groups',
        metavar='FILE.json',
        help='an object of file stem to group, as check-leakage writes it; or neu-det for the '
        'shipped groups of NEU-DET',
    )
    group.add_argument(
        '--val-from-train',
        type=float,
        default=0.0,
        metavar='SHARE',
        help='take this share of the training images for validation where the official split has '
        'no images for it',
    )
