"""Write a defect data set in the layout that mmdet and mmseg read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mkbackbones.datasets import Converter, DatasetError, SyntheticDefects
from mkbackbones.datasets.summary import Summary, print_summary
from mkbackbones.datasets.writer import write_dataset

__all__ = ['main']


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv (list[str] | None): Arguments without the program's name; None takes ``sys.argv``.

    Returns:
        int: 0, or 1 after a one-sentence error on stderr with nothing written.
    """
    args = _parser().parse_args(argv)
    try:
        converter = args.converter(args)
        summary = _write(converter, args)
    except DatasetError as error:
        print(f'prepare_dataset: {error}', file=sys.stderr)
        return 1
    except OSError as error:
        print(f'prepare_dataset: {error.filename or args.out}: {error.strerror}', file=sys.stderr)
        return 1
    print_summary(summary, f'{args.dataset}: {args.out}')
    return 0


def _write(converter: Converter, args: argparse.Namespace) -> Summary:
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(args.dataset, total=len(converter))
        return write_dataset(
            converter,
            args.out,
            overwrite=args.overwrite,
            on_record=lambda: progress.advance(task),
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='prepare_dataset', description=__doc__)
    commands = parser.add_subparsers(dest='dataset', required=True)
    _add_synthetic(commands)
    return parser


def _subcommand(commands, name: str, help: str, example: str) -> argparse.ArgumentParser:  # noqa: ANN001
    parser = commands.add_parser(
        name,
        help=help,
        description=help,
        epilog=f'example:\n  python tools/prepare_dataset.py {name} {example}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out', type=Path, required=True, help='folder to create')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a non-empty output folder'
    )
    return parser


def _add_synthetic(commands) -> None:  # noqa: ANN001
    parser = _subcommand(
        commands,
        'synthetic',
        'Generate the procedural defect set: boxes, instance masks and class maps.',
        '--out data/synthetic --size 128 --seed 0',
    )
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument('--size', type=int, default=128, help='image side; default: %(default)s')
    parser.add_argument('--num-train', type=int, default=240, help='default: %(default)s')
    parser.add_argument('--num-val', type=int, default=60, help='default: %(default)s')
    parser.add_argument('--num-test', type=int, default=60, help='default: %(default)s')
    parser.set_defaults(
        converter=lambda args: SyntheticDefects(
            dict(train=args.num_train, val=args.num_val, test=args.num_test),
            size=args.size,
            seed=args.seed,
        )
    )
