"""Boxes as annotators leave them, made fit for training."""

from __future__ import annotations

import numpy as np

from .windows import check_near

__all__ = ['Box', 'clean_box']

Box = tuple[float, float, float, float]

_ROUNDING = 0.01
"""Overshoot in pixels that is rounding of the annotation file, not worth a report."""


def clean_box(
    x1: float, y1: float, x2: float, y2: float, width: int, height: int, where: str = ''
) -> tuple[Box | None, str | None]:
    """Order the corners of a box and clip it to its image.

    Args:
        x1 (float): One side in pixels; the first pixel reaches from 0 to 1.
        y1 (float): One end of it.
        x2 (float): The other side.
        y2 (float): The other end.
        width (int): Image width in pixels.
        height (int): Image height in pixels.
        where (str): The place of the box, for messages.

    Returns:
        tuple[Box | None, str | None]: x, y, width, height inside the image, or None where less
        than a pixel is left in either direction (mmdet drops such boxes without a word); and what
        was mended, or None.

    Raises:
        DatasetError: A box that reaches far beyond the image: it is that of another one.
    """
    check_near([np.array([[x1, y1], [x2, y2]], float)], (height, width), where)
    swapped = x1 > x2 or y1 > y2
    x1, x2 = sorted((x1, x2))
    y1, y2 = sorted((y1, y2))
    if x2 - x1 < 1 or y2 - y1 < 1:
        return None, 'box narrower than a pixel dropped'
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if right <= left or bottom <= top:
        return None, 'box outside the image dropped'
    if right - left < 1 or bottom - top < 1:
        return None, 'box with less than a pixel inside the image dropped'
    beyond = max(left - x1, top - y1, x2 - right, y2 - bottom)
    fixes = ['box with swapped corners mended'] if swapped else []
    if beyond > _ROUNDING:
        fixes.append('box clipped to the image')
    return (left, top, right - left, bottom - top), ' and '.join(fixes) or None
