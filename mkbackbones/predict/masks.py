"""Masks of large pictures as run-length codes: none is unpacked to be moved or joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..datasets.rle import run_lengths

__all__ = ['Code', 'area', 'box_of', 'decode', 'encode', 'joined', 'rectangle', 'shared']

#: ``dict(size=[height, width], counts=text)``
Code = dict[str, Any]
Region = tuple[int, int, int, int]


def encode(mask: np.ndarray, left: int, top: int, width: int, height: int) -> Code:
    """Code of a mask that is a part of a picture.

    Args:
        mask (np.ndarray): (rows, columns) bool.
        left (int): Column of the picture in which it begins.
        top (int): Row of the picture in which it begins.
        width (int): Of the picture.
        height (int): Of the picture.
    """
    from pycocotools import mask as coder

    # Most objects are narrow: the other columns are counted, not looked at.
    filled = np.flatnonzero(mask.any(0))
    first, last = (filled[0], filled[-1] + 1) if len(filled) else (0, 1)
    mask, left = mask[:, first:last], left + int(first)
    columns = mask.shape[1]
    strip = np.zeros((height, columns), np.uint8, order='F')
    strip[top : top + mask.shape[0]] = mask
    code = coder.encode(strip)
    if columns < width:
        # Runs go down the columns, so that columns to both sides are zeros before and behind.
        counts = run_lengths(code['counts'], strip.shape, 'a mask').tolist()
        counts[0] += left * height
        behind = (width - left - columns) * height
        if len(counts) % 2:
            counts[-1] += behind
        elif behind:
            counts.append(behind)
        code = coder.frPyObjects(dict(size=[height, width], counts=counts), height, width)
    return plain(code)


def plain(code: Any) -> Code:
    """A code of pycocotools as JSON takes it."""
    counts = code['counts']
    return dict(
        size=[int(side) for side in code['size']],
        counts=counts.decode() if isinstance(counts, bytes) else counts,
    )


def decode(code: Code) -> np.ndarray:
    """(height, width) bool."""
    from pycocotools import mask as coder

    return coder.decode(code).astype(bool)


def area(code: Code) -> float:
    """Pixels."""
    from pycocotools import mask as coder

    return float(coder.area(code))


def box_of(code: Code) -> tuple[float, float, float, float]:
    """Left, top, width and height."""
    from pycocotools import mask as coder

    left, top, width, height = (float(value) for value in coder.toBbox(code))
    return left, top, width, height


def joined(codes: Sequence[Code]) -> Code:
    """The union."""
    from pycocotools import mask as coder

    return plain(coder.merge(list(codes), intersect=False))


def rectangle(region: Region, size: Sequence[int]) -> Code:
    """The mask of left, top, right, bottom in a picture of height and width."""
    left, top, right, bottom = region
    height, width = size
    return encode(np.ones((bottom - top, right - left), bool), left, top, width, height)


def shared(one: Code, other: Code) -> Code:
    """The intersection."""
    from pycocotools import mask as coder

    return plain(coder.merge([one, other], intersect=True))
