"""``python -m mkbackbones prepare-dataset``: write a defect data set for mmdet and mmseg."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mkbackbones.commands.launch import CommandError, run_command
from mkbackbones.datasets import Converter, DatasetError, NeuDet, NeuSeg, SyntheticDefects
from mkbackbones.datasets.summary import Summary, print_summary
from mkbackbones.datasets.writer import write_dataset

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
    _check_sources(args)
    try:
        summary = _write(args.converter(args), args)
    except DatasetError as error:
        raise CommandError(error) from error
    except OSError as error:
        raise CommandError(f'{error.filename or args.out}: {error.strerror}') from error
    print_summary(summary, f'{args.dataset}: {args.out}')


def _check_sources(args: argparse.Namespace) -> None:
    """Refuse to replace, with ``--overwrite``, a folder that holds the source."""
    out = args.out.resolve()
    for source in (getattr(args, 'src', None), getattr(args, 'images', None)):
        if source is not None and source.resolve().is_relative_to(out):
            raise CommandError(f'the source {source} lies in the output folder {args.out}')


def _write(converter: Converter, args: argparse.Namespace) -> Summary:
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
            overwrite=args.overwrite,
            on_record=lambda: progress.advance(task),
        )


def build_parser() -> argparse.ArgumentParser:
    """Build the parser, one sub-command a data set."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones prepare-dataset',
        description='Write a defect data set in the layout that mmdet and mmseg read.',
    )
    commands = parser.add_subparsers(dest='dataset', required=True, metavar='DATASET')
    _add_neu_det(commands)
    _add_neu_seg(commands)
    _add_synthetic(commands)
    return parser


def _subcommand(commands, name: str, help: str, example: str) -> argparse.ArgumentParser:  # noqa: ANN001
    parser = commands.add_parser(
        name,
        help=help,
        description=help,
        epilog=f'example:\n  python -m mkbackbones prepare-dataset {name} {example}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out', type=Path, required=True, help='folder to create')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a non-empty output folder'
    )
    return parser


def _add_neu_det(commands) -> None:  # noqa: ANN001
    parser = _subcommand(
        commands,
        'neu-det',
        'Convert NEU-DET (1800 images, boxes) to COCO on a split without leaks.',
        '--src downloads/NEU-DET.zip --out data/neu-det',
    )
    parser.add_argument('--src', type=Path, required=True, help='the NEU-DET folder or its .zip')
    parser.set_defaults(converter=lambda args: NeuDet(args.src))


def _add_neu_seg(commands) -> None:  # noqa: ANN001
    parser = _subcommand(
        commands,
        'neu-seg',
        'Convert the 899 unrotated masks of NEU-Seg to class maps and COCO instances.',
        '--src downloads/NEU_Seg.zip --images downloads/NEU-DET.zip --out data/neu-seg',
    )
    parser.add_argument('--src', type=Path, required=True, help='the NEU-Seg folder or its .zip')
    parser.add_argument('--images', type=Path, required=True, help='the NEU-DET folder or its .zip')
    parser.set_defaults(converter=lambda args: NeuSeg(args.src, args.images))


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
