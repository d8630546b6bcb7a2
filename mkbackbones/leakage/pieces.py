"""Large pictures in pieces: a crop that lies in one is compared with a piece of its own size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ['Piece', 'cut', 'halvings', 'turned_origin']

#: Longest side of a piece, and how far the next one starts, as multiples of the usual side. What is
#: as large as the usual picture lies in some piece with three quarters of its height and width.
LONGEST = 1.5
STEP = 1.0


@dataclass(frozen=True)
class Piece:
    """A part of a picture.

    Args:
        picture (int): Index of the picture.
        origin (tuple[int, int]): y, x of its upper left corner, in pixels of the last level.
        shape (tuple[int, int]): Height and width.
    """

    picture: int
    origin: tuple[int, int]
    shape: tuple[int, int]


def cut(picture: int, shape: tuple[int, int], side: float) -> list[Piece]:
    """Cut a picture.

    Args:
        picture (int): Its index.
        shape (tuple[int, int]): Its height and width.
        side (float): The usual side.
    """
    longest = round(LONGEST * side)
    lengths = [min(length, longest) for length in shape]
    starts = [
        [round(i * (length - piece) / max(count - 1, 1)) for i in range(count)]
        for length, piece, count in zip(shape, lengths, counts(shape, side))
    ]
    height, width = lengths
    return [Piece(picture, (y, x), (height, width)) for y in starts[0] for x in starts[1]]


def counts(shape: tuple[float, float], side: float) -> list[int]:
    """Pieces along height and width."""
    longest = round(LONGEST * side)
    return [1 + max(0, math.ceil((length - longest) / (STEP * side))) for length in shape]


def halvings(
    shapes: Sequence[tuple[float, float]], side: float, budget: int
) -> tuple[list[int], int]:
    """How often to halve each picture, so that all together have no more pieces than allowed.

    The largest are halved first; crops of the usual scale are then not found in them.

    Args:
        shapes (Sequence[tuple[float, float]]): Height and width of each.
        side (float): The usual side.
        budget (int): Most pieces; at least one a picture is needed.

    Returns:
        tuple[list[int], int]: Halvings of each picture, and pieces of all.
    """
    limit = budget
    while True:
        times = [fitting_halvings(shape, side, limit) for shape in shapes]
        total = sum(number_of_pieces(shape, side, n) for shape, n in zip(shapes, times))
        if total <= budget or limit <= 1:
            return times, total
        limit = limit * 2 // 3


def fitting_halvings(shape: tuple[float, float], side: float, limit: int) -> int:
    """How often to halve a picture until it has no more pieces than ``limit``."""
    times = 0
    while number_of_pieces(shape, side, times) > limit:
        times += 1
    return times


def number_of_pieces(shape: tuple[float, float], side: float, times: int) -> int:
    """Pieces of a picture that was halved so many times."""
    height, width = (length / 2**times for length in shape)
    rows, columns = counts((height, width), side)
    return rows * columns


def turned_origin(piece: Piece, shape: tuple[int, int], symmetry: int) -> tuple[int, int]:
    """Where a piece starts in its picture after both were turned.

    Args:
        piece (Piece): The piece.
        shape (tuple[int, int]): Height and width of the picture before.
        symmetry (int): As in :func:`~mkbackbones.leakage.symmetries.turn`.
    """
    (y, x), (height, width) = piece.origin, piece.shape
    rows, columns = shape
    if symmetry >= 4:
        x = columns - x - width
    for _ in range(symmetry % 4):  # counter-clockwise: what was right is on top
        y, x = columns - x - width, y
        height, width = width, height
        rows, columns = columns, rows
    return y, x
