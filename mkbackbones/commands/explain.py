"""``python -m mkbackbones explain``: see what the charts of a trained model do in pictures."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from .errors import CommandError, run_skipping
from .launch import add_weights_arguments, force_cpu

#: What the folder holds; one with anything else is not replaced.
PAGE, NUMBERS = 'explain.html', 'explain.json'
#: Pictures on a page.
MOST = 20
EPILOG = """
exit codes: 0 all pictures, 1 some were skipped (they are named), 2 nothing could be done

examples:
  python -m mkbackbones explain my_config.py work_dirs/my_config/epoch_12.pth pictures/a.png \\
      --out seen
  python -m mkbackbones explain my_config.py epoch_12.pth pictures/a.png --at 40,20 \\
      --blocks 0 -1 --out seen
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones explain',
        description='Show, on one page, what the charts of a trained detector, segmentor or '
        'classifier do in pictures: attention with and without them, what each adds to the '
        'logits, memberships, and how far they have moved.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='path of a config, or the name of a shipped one')
    parser.add_argument('checkpoint', help='path or URL of the weights')
    parser.add_argument(
        'pictures',
        nargs='+',
        metavar='IMAGE',
        help=f'files, folders or patterns, {MOST} pictures at most',
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='DIR',
        help=f'folder to write, whole or not at all: {PAGE} and {NUMBERS}',
    )
    parser.add_argument(
        '--at',
        metavar='X,Y',
        help='look from this point of the pictures, in pixels; default: the centre of the surest '
        'detection, the middle of the largest region of a class map, else the centre',
    )
    parser.add_argument(
        '--blocks',
        type=int,
        nargs='+',
        metavar='N',
        help='which of the blocks with charts, from 0, or from the end with -1; default: the last '
        'of each stage, or four of a ViT',
    )
    parser.add_argument(
        '--device', choices=['auto', 'cpu', 'cuda'], default='auto', help='default: a GPU if any'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a former page')
    add_weights_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_skipping(build_parser(), explain, argv)


def explain(args: argparse.Namespace) -> list[str]:
    """Look at pictures as the parsed arguments say.

    Returns:
        list[str]: Why pictures were skipped, one sentence each.

    Raises:
        CommandError: The input cannot work, or no picture could be used.
    """
    if args.device == 'cpu':
        force_cpu()
    from ..explain.query import point_of
    from ..files import OutputError, atomic_output
    from ..predict.inputs import find_pictures

    at = None if args.at is None else point_of(args.at)
    check_folder(args.out, args.overwrite)
    pictures = find_pictures(args.pictures, without=args.out)
    if len(pictures) > MOST:
        raise CommandError(f'{len(pictures)} pictures are too many for a page; give {MOST} at most')
    from ..explain.models import Opened
    from ..explain.page import explanation_page
    from ..explain.run import as_json, explain_picture
    from ..predict.pictures import PictureError

    opened = Opened(
        args.config,
        args.checkpoint,
        device=args.device,
        trusted=args.trusted,
        cfg_options=args.cfg_options,
    )
    found, faults = [], []
    for path in pictures:
        try:
            found.append(explain_picture(opened, path, at, args.blocks))
        except PictureError as error:
            faults.append(str(error))
            print(f'skipped: {error}', file=sys.stderr)
    if not found:
        raise CommandError(f'none of the {len(faults)} pictures could be used: {faults[0]}')
    content = dict(
        config=args.config, checkpoint=args.checkpoint, pictures=[as_json(one) for one in found]
    )
    page = explanation_page(args.config, args.checkpoint, found)
    try:
        with atomic_output(args.out, overwrite=args.overwrite, expected=(PAGE, NUMBERS)) as out:
            (out / PAGE).write_bytes(page.encode('utf-8', 'surrogateescape'))
            (out / NUMBERS).write_text(json.dumps(content), encoding='utf-8')
    except OutputError as error:
        raise CommandError(error) from error
    for one in found:
        for note in one.notes:
            print(f'{one.name}: {note}')
    print(args.out / PAGE)
    return faults


def check_folder(folder: Path, overwrite: bool) -> None:
    """Raise CommandError if a folder may not be replaced."""
    if folder.exists() and not folder.is_dir():
        raise CommandError(f'--out {folder} is a file: name a folder')
    content = sorted(os.listdir(folder)) if folder.is_dir() else []
    foreign = [name for name in content if name not in (PAGE, NUMBERS)]
    if foreign:
        raise CommandError(f'--out {folder} holds something else ({foreign[0]}): name another one')
    if content and not overwrite:
        raise CommandError(
            f'--out {folder} has a page already: name another one, or add --overwrite to replace it'
        )
