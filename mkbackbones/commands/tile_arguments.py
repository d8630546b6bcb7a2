"""Arguments of commands that cut large pictures."""

from __future__ import annotations

import argparse

from ..predict.tiles import OVERLAP
from .errors import CommandError

__all__ = ['add_tile_arguments', 'chosen_overlap']


def add_tile_arguments(parser: argparse.ArgumentParser, tile: str) -> None:
    """Add ``--tile``, with its help, and ``--overlap``."""
    parser.add_argument('--tile', type=int, metavar='PIXELS', help=tile)
    parser.add_argument(
        '--overlap',
        type=int,
        metavar='PIXELS',
        help='with --tile: what neighbouring tiles share at least, at most half a tile; default: '
        f'{OVERLAP}, or half of a smaller tile',
    )


def chosen_overlap(args: argparse.Namespace) -> int:
    """What neighbouring tiles share.

    Raises:
        CommandError: There are no tiles.
    """
    if args.overlap is None:
        return OVERLAP if args.tile is None else min(OVERLAP, max(args.tile // 2, 0))
    if args.tile is None:
        raise CommandError(f'--overlap {args.overlap} is for --tile PIXELS')
    return int(args.overlap)
