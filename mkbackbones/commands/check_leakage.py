"""``python -m mkbackbones check-leakage``: find pictures that share content across splits."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CommandError, run_command

if TYPE_CHECKING:
    from ..leakage import Picture, Shared
    from ..leakage.check import Report

EPILOG = """
exit code: 0 if no two splits share content, 1 if they do, 2 if the input cannot be checked

examples:
  python -m mkbackbones check-leakage data/neu-det
  python -m mkbackbones check-leakage downloads/photos --out work_dirs/photos
  python -m mkbackbones prepare-dataset coco ... --split group --groups work_dirs/photos/groups.json
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones check-leakage',
        description='Find pictures that share content: copies, turned copies, overlapping crops of '
        'one surface, and the same scene at several exposures.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'folder', type=Path, help='a prepared data set, or any folder with pictures below it'
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='where groups.json, pairs.csv and index.html go; '
        'default: work_dirs/leakage/<name of the folder>',
    )
    parser.add_argument(
        '--splits',
        type=Path,
        help='a JSON object of file stem to train, val or test, to check a split that is planned',
    )
    parser.add_argument(
        '--turned-crops',
        action='store_true',
        help='also look for crops that are turned as well as shifted: eight times the work',
    )
    parser.add_argument(
        '--show', type=int, default=40, help='pairs on the page; default: %(default)s'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    found: list[bool] = []
    code = run_command(build_parser(), lambda args: found.append(check(args)), argv)
    return code or int(found[0])


def check(args: argparse.Namespace) -> bool:
    """Check a folder, write the results and say whether splits share content.

    Raises:
        CommandError: The folder, the splits or a picture cannot be used.
    """
    if args.show < 0:
        raise CommandError(f'--show {args.show} is negative; give 0 for a page without pictures')
    from ..datasets import DatasetError
    from ..leakage import find_pictures, find_shared

    out = args.out or Path('work_dirs/leakage') / args.folder.resolve().name
    if out.exists() and not out.is_dir():
        raise CommandError(f'--out {out} is a file; name a folder')
    try:
        pictures = find_pictures(args.folder, read_splits(args.splits))
        limits: list[str] = []
        with progress() as report:
            pairs = find_shared(
                pictures, turned_crops=args.turned_crops, report=report, warn=limits.append
            )
        write(out, args, pictures, pairs)
    except DatasetError as error:
        raise CommandError(error) from error
    except OSError as error:
        raise CommandError(f'{error.filename or out}: {error.strerror}') from error
    for sentence in limits:
        print(f'note: {sentence}')
    return tell(out, pictures, pairs)


def read_splits(path: Path | None) -> dict[str, str] | None:
    """Read ``--splits``; a ``split`` entry, as in the shipped NEU list, is taken from within.

    Raises:
        CommandError: The file cannot be read or is something else.
    """
    if path is None:
        return None
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise CommandError(f'--splits {path}: malformed JSON ({error})') from error
    except OSError as error:
        raise CommandError(f'--splits {path}: {error.strerror}') from error
    if isinstance(content, dict):
        content = content['split'] if isinstance(content.get('split'), dict) else content
        if all(isinstance(split, str) for split in content.values()):
            return content
    raise CommandError(f'--splits {path}: not an object of file stem to train, val or test')


@contextmanager
def progress() -> Iterator[Report]:
    """Show a bar for each step; yields what :func:`find_shared` reports to."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True, markup=False)
    tasks: dict[str, TaskID] = {}
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as bars:

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done)

        yield report


def write(
    out: Path, args: argparse.Namespace, pictures: list[Picture], pairs: list[Shared]
) -> None:
    """Write ``groups.json``, ``pairs.csv`` and ``index.html``, each whole or not at all."""
    from ..datasets.naming import natural_order
    from ..files import written_aside
    from ..leakage import group_keys
    from ..leakage.page import to_page

    keys = natural_order(picture.key for picture in pictures)
    groups = group_keys(keys, ((pair.first.key, pair.second.key) for pair in pairs))
    page = to_page(pairs, len(pictures), args.folder.resolve().name, args.show)
    out.mkdir(parents=True, exist_ok=True)
    with written_aside(out / 'groups.json') as work:
        work.write_text(json.dumps(groups, indent=1, ensure_ascii=False), encoding='utf-8')
    with written_aside(out / 'pairs.csv') as work:
        write_pairs(work, pairs)
    with written_aside(out / 'index.html') as work:
        work.write_text(page, encoding='utf-8')


def write_pairs(path: Path, pairs: list[Shared]) -> None:
    """Write one row a pair, those across splits first."""
    header = ['first', 'second', 'first_split', 'second_split', 'across_splits', 'kind', 'symmetry']
    header += ['shift_x', 'shift_y', 'overlap', 'correlation', 'score', 'distinct']
    with path.open('w', newline='', encoding='utf-8') as file:
        rows = csv.writer(file)
        rows.writerow(header)
        for pair in sorted(pairs, key=lambda pair: not pair.crosses):
            rows.writerow(
                [
                    pair.first.key,
                    pair.second.key,
                    pair.first.split or '',
                    pair.second.split or '',
                    int(pair.crosses),
                    pair.kind,
                    pair.symmetry,
                    *pair.shift,
                    *(f'{value:.3f}' for value in (pair.overlap, pair.correlation)),
                    *(f'{value:.1f}' for value in (pair.score, pair.distinct)),
                ]
            )


def tell(out: Path, pictures: list[Picture], pairs: list[Shared]) -> bool:
    """Print what was found; returns whether splits share content."""
    crossing = [pair for pair in pairs if pair.crosses]
    involved = {picture.key for pair in pairs for picture in (pair.first, pair.second)}
    print(f'{len(pictures)} pictures, {len(pairs)} pairs share content ({len(involved)} pictures)')
    if any(picture.split for picture in pictures):
        print(f'{len(crossing)} pairs lie in different splits')
    else:
        print('no splits are known here, so nothing can leak between them')
    print(f'see {out / "index.html"}, {out / "pairs.csv"} and {out / "groups.json"}')
    return bool(crossing)
