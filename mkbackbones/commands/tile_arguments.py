"""Arguments of commands that cut large pictures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..predict.tiles import OVERLAP, Tiling
from .errors import CommandError

if TYPE_CHECKING:
    from mmengine.config import Config

    from ..predict import Predictor

__all__ = ['add_tile_arguments', 'chosen_tiling', 'predictor_in_tiles']


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


def chosen_tiling(args: argparse.Namespace) -> Tiling | None:
    """How pictures are cut; None: not at all.

    Raises:
        InputError: There are no tiles to overlap, or they cannot be as they are asked for.
    """
    if args.tile is None:
        if args.overlap is not None:
            raise CommandError(f'--overlap {args.overlap} is for --tile PIXELS')
        return None
    default = min(OVERLAP, max(args.tile // 2, 0))
    return Tiling(args.tile, default if args.overlap is None else args.overlap)


def predictor_in_tiles(args: argparse.Namespace, cfg: Config, tiling: Tiling) -> Predictor:
    """What looks at the pictures of a config in tiles, for a command with a runner's arguments.

    Args:
        args (Namespace): Those arguments, and ``checkpoint``.
        cfg (Config): The config.
        tiling (Tiling): How pictures are cut.

    Raises:
        InputError: It is to run in several processes, or the checkpoint is not one of the config.
    """
    from ..predict import Predictor

    if args.launcher != 'none':
        raise CommandError(
            f'--launcher {args.launcher} does not go with --tile: one process looks at tiles'
        )
    return Predictor(
        cfg,
        args.checkpoint,
        device='cpu' if args.device == 'auto' and args.gpus == 0 else args.device,
        tile=tiling.tile,
        overlap=tiling.overlap,
        trusted=args.trusted,
    )
