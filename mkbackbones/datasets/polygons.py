"""Exact polygons of a binary mask, in time that grows with its pixels alone."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .pieces import pieces_without_holes

__all__ = ['mask_to_polygons']

_EIGHT = np.ones((3, 3), bool)
# Right, down, left, up: each direction is a right turn from the one before.
_STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])


def mask_to_polygons(mask: np.ndarray, x: float = 0, y: float = 0) -> list[list[float]]:
    """Trace a mask along its pixel edges, so that drawing the polygons gives the mask back.

    COCO polygons cannot express a hole, so a component with holes is cut into pieces without.
    Contours through pixel centres, as OpenCV returns them, would lose half a pixel all around,
    and thin scratches altogether.

    Args:
        mask (np.ndarray): Pixels of one object, (rows, columns) bool, any number of components.
        x (float): Column of the image in which the mask begins.
        y (float): Row of the image in which the mask begins.

    Returns:
        list[list[float]]: For each piece x0, y0, x1, y1, ... with pixel corners as vertices. Their
        union drawn by pycocotools equals ``mask``.
    """
    labels, count = ndimage.label(mask, _EIGHT)
    if _holes(mask, count):
        labels = pieces_without_holes(labels)
    return [(loop + (x, y)).ravel().tolist() for loop in _outlines(labels)]


def _holes(mask: np.ndarray, components: int) -> int:
    """How many holes there are, by Euler's formula for 8-connected pixels."""
    padded = np.pad(mask, 1).astype(np.int64)
    quads = padded[:-1, :-1] + 2 * padded[:-1, 1:] + 4 * padded[1:, :-1] + 8 * padded[1:, 1:]
    counts = np.bincount(quads.ravel(), minlength=16)
    single, triple = counts[[1, 2, 4, 8]].sum(), counts[[7, 11, 13, 14]].sum()
    diagonal = counts[[6, 9]].sum()
    return components - int(single - triple - 2 * diagonal) // 4


def _outlines(labels: np.ndarray) -> list[np.ndarray]:
    """The outline of every piece without holes, (corners, 2) as x and y each, by its label.

    All edges between a piece and what is not of it are followed with the piece on the right hand;
    where two pixels of a piece touch at a corner, the way leads across, as they are connected.
    """
    padded = np.pad(labels, 1)
    width = padded.shape[1] + 1
    starts, inside, directions = [], [], []
    # To the right along the upper side of a pixel, down along its right side, to the left along
    # the lower and up along the left; ``shift`` leads to the corner at which the edge starts.
    for direction, (own, other, shift) in enumerate(
        (
            (padded[1:], padded[:-1], width),
            (padded[:, :-1], padded[:, 1:], 1),
            (padded[:-1], padded[1:], width + 1),
            (padded[:, 1:], padded[:, :-1], width + 1),
        )
    ):
        rows, columns = np.nonzero((own != other) & (own > 0))
        inside.append(own[rows, columns])
        starts.append(rows * width + columns + shift)
        directions.append(np.full(len(rows), direction))
    return _follow(
        np.concatenate(starts), np.concatenate(inside), np.concatenate(directions), width
    )


def _follow(
    starts: np.ndarray, inside: np.ndarray, directions: np.ndarray, width: int
) -> list[np.ndarray]:
    ends = starts + _STEPS[directions] @ (1, width)
    span = int(starts.max(initial=0)) + width + 2
    keys = (inside.astype(np.int64) * span + starts) * 4 + directions
    order = np.argsort(keys)
    ordered = keys[order]
    following = np.full(len(keys), -1)
    # Across a corner first: a left turn, then straight on, then a right turn.
    for turn in (3, 0, 1):
        wanted = (inside.astype(np.int64) * span + ends) * 4 + (directions + turn) % 4
        place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        hit = (ordered[place] == wanted) & (following < 0)
        following[hit] = order[place[hit]]
    bends = (directions[following] != directions).tolist()
    # The loops begin in the order of the pieces, each at its first corner.
    begin, after, corner = order.tolist(), following.tolist(), ends.tolist()
    seen = bytearray(len(begin))
    loops = []
    for first in begin:
        if seen[first]:
            continue
        corners, edge = [], first
        while not seen[edge]:
            seen[edge] = 1
            if bends[edge]:
                corners.append(corner[edge])
            edge = after[edge]
        flat = np.array(corners)
        loops.append(np.stack([flat % width - 1, flat // width - 1], axis=1))
    return loops
