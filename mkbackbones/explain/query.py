"""From which point of a picture one looks."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..predict.results import Prediction
from ..runner.errors import InputError

__all__ = ['Query', 'point_of', 'query_of']

_POINT = re.compile(r'\s*(\d+(?:\.\d*)?)\s*[,x ]\s*(\d+(?:\.\d*)?)\s*')


@dataclass(frozen=True)
class Query:
    """A point of a picture.

    Args:
        x (float): From the left, in pixels of the picture.
        y (float): From the top.
        how (str): How it was chosen, in words.
        box (tuple[float, float, float, float] | None): Left, top, width and height of what was
            found there.
    """

    x: float
    y: float
    how: str
    box: tuple[float, float, float, float] | None = None


def point_of(text: str) -> tuple[float, float]:
    """A point as an argument names it, ``X,Y`` in pixels.

    Raises:
        InputError: It is none.
    """
    match = _POINT.fullmatch(text)
    if match is None:
        raise InputError(
            f'--at {text!r} is no point: give pixels from the left and top, e.g. 120,80'
        )
    return float(match[1]), float(match[2])


def query_of(
    prediction: Prediction | None,
    width: int,
    height: int,
    at: tuple[float, float] | None,
    name: str,
) -> Query:
    """Where to look from: the given point, or what is found with the highest score, or the centre.

    Args:
        prediction (Prediction | None): What the model finds; None for a classifier.
        width (int): Of the picture, in pixels.
        height (int): Of the picture, in pixels.
        at (tuple[float, float] | None): The given point.
        name (str): Of the picture, for messages.

    Raises:
        InputError: The given point is not in the picture.
    """
    if at is not None:
        if at[0] >= width or at[1] >= height:
            raise InputError(
                f'--at {at[0]:g},{at[1]:g} is not in {name}, which has {width}x{height} pixels'
            )
        return Query(*at, 'the given point')
    if prediction is not None and prediction.class_map is not None and prediction.instances:
        return in_largest_region(prediction)
    if prediction is not None and prediction.instances:
        best = max(prediction.instances, key=lambda one: one.score)
        left, top, wide, high = best.box
        x = min(max(left + wide / 2, 0), width - 1)
        y = min(max(top + high / 2, 0), height - 1)
        how = f'the centre of the surest detection, {best.name} with {best.score:.2f}'
        return Query(x, y, how, best.box)
    nothing = '' if prediction is None else ', as nothing was found'
    return Query(width / 2, height / 2, f'the centre of the picture{nothing}')


def in_largest_region(prediction: Prediction) -> Query:
    """The pixel that lies deepest in the largest connected region of a class map."""
    import cv2

    largest, name, where = 0, '', np.zeros((1, 1), bool)
    box = (0.0, 0.0, 0.0, 0.0)
    for one in prediction.instances:
        bitmap = one.bitmap()
        if bitmap is None:
            continue
        _, labels, stats, _ = cv2.connectedComponentsWithStats(bitmap.astype(np.uint8))
        number = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        area = int(stats[number, cv2.CC_STAT_AREA])
        if area > largest:
            left, top, wide, high = (float(side) for side in stats[number, :4])
            largest, name, where = area, one.name, labels == number
            box = left, top, wide, high
    depth = cv2.distanceTransform(np.pad(where, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    how = f'the middle of the largest region, {name} with {largest} pixels'
    return Query(float(x) + 0.5, float(y) + 0.5, how, box)
