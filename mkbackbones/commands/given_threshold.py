"""``--threshold``: a file of ``calibrate-threshold``, and whether it fits what it is given to."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CommandError

if TYPE_CHECKING:
    from ..decide.operating_point import OperatingPoint
    from ..predict.predictor import Predictor
    from ..predict.tiles import Tiling

__all__ = ['check_point', 'read_point']

#: Bits of a deep picture that are used where nothing else is said.
WHOLE = 16


def read_point(args: argparse.Namespace, tiling: Tiling | None) -> OperatingPoint:
    """A threshold as ``calibrate-threshold`` wrote it, which looks at pictures in the same way.

    Args:
        args (Namespace): Of the command: ``threshold``, ``config``, ``checkpoint``, and ``tile``
            where there may be tiles.
        tiling (Tiling | None): How the command cuts pictures; None: not at all.

    Raises:
        CommandError: There is none, or it was chosen for an exported file or with other tiles.
    """
    from ..decide.operating_point import OperatingPoint

    path = args.threshold
    if not path.is_file():
        raise CommandError(f'--threshold {path} does not exist; calibrate-threshold writes one')
    try:
        point = OperatingPoint.load(path)
    except ValueError as error:
        raise CommandError(f'--threshold {error}') from error
    if point.is_of_export:
        raise CommandError(
            f'--threshold {path} was chosen for the exported file {point.checkpoint}, '
            f'whose scores {args.checkpoint} does not have: {choose(args, tiling)}'
        )
    check_tiles(point, args, tiling)
    return point


def choose(args: argparse.Namespace, tiling: Tiling | None) -> str:
    """How to get a threshold that fits."""
    tiles = '' if tiling is None else f' --tile {tiling.tile} --overlap {tiling.overlap}'
    return f'choose one with calibrate-threshold {args.config} {args.checkpoint}{tiles}'


def check_tiles(point: OperatingPoint, args: argparse.Namespace, tiling: Tiling | None) -> None:
    """Raise CommandError if a threshold was chosen with other tiles: scores of these are others."""
    from ..decide.operating_point import Tiles

    if point.tiles == (None if tiling is None else Tiles(tiling.tile, tiling.overlap)):
        return
    if point.tiles is None:
        chosen, remedy = 'whole pictures', 'leave out --tile, or '
    else:
        chosen = str(point.tiles)
        remedy = f'give --tile {point.tiles.tile} --overlap {point.tiles.overlap}, or '
    if 'tile' in args:
        why = 'scores of others differ'
    else:
        why, remedy = 'an exported file looks at whole pictures', ''
    raise CommandError(
        f'--threshold {args.threshold} was chosen by scores of {chosen}, and {why}: '
        f'{remedy}{choose(args, tiling)}'
    )


def check_point(
    point: OperatingPoint, args: argparse.Namespace, predictor: Predictor, is_kept: bool = False
) -> None:
    """Raise CommandError if a threshold is that of other classes.

    That it is of another checkpoint is told, and what else lets scores differ.

    Args:
        point (OperatingPoint): The threshold.
        args (Namespace): Of the command: ``threshold``, ``config``, ``checkpoint``.
        predictor (Predictor): What it is for.
        is_kept (bool): Whether it goes along in a file, where nobody sees what is told here: that
            of another checkpoint is refused then.
    """
    if list(point.classes) != list(predictor.classes):
        raise CommandError(
            f'--threshold {args.threshold} is for the classes {", ".join(point.classes)}; the '
            f'config has {", ".join(predictor.classes)}'
        )
    checkpoint = Path(args.checkpoint)
    if not point.is_for(checkpoint):
        other = 'another file' if point.checkpoint == checkpoint.name else point.checkpoint
        why = (
            f'{args.threshold} was chosen for {other}, not for {checkpoint}: another network has '
            'other scores'
        )
        if is_kept:
            raise CommandError(f'--threshold {why}; {choose(args, None)}')
        print(why, file=sys.stderr)
    for told in other_scores(args):
        print(told, file=sys.stderr)


def other_scores(args: argparse.Namespace) -> list[str]:
    """By what scores differ from those that a threshold was chosen by, a sentence each."""
    told = []
    if getattr(args, 'amp', None):
        told.append(
            f'{args.threshold} was chosen in float32: with --amp {args.amp} scores differ, and '
            'pictures near the threshold may be told otherwise'
        )
    bits = getattr(args, 'bit_depth', WHOLE)
    if bits != WHOLE:
        told.append(
            f'{args.threshold} holds for --bit-depth {bits} only if prepare-dataset was given the '
            'same for the pictures that it was chosen on'
        )
    return told
