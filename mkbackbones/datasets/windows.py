"""Pixels of objects, kept for the window that they fill: images are large, defects small."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import DatasetError

__all__ = [
    'Window',
    'check_near',
    'draw_ellipse',
    'draw_polygons',
    'draw_runs',
    'hull',
    'rotated_corners',
    'unite',
]

_FARTHEST = 10
"""Sides of the image from which on a corner is no overshoot but a fault of the file."""
_SCALE = 5.0
"""pycocotools rounds corners to fifths of a pixel."""


@dataclass
class Window:
    """A mask without the empty space around it.

    Args:
        mask (np.ndarray): (rows, columns) bool.
        x (int): Column of the image in which it begins.
        y (int): Row of the image in which it begins.
    """

    mask: np.ndarray
    x: int = 0
    y: int = 0

    def any(self) -> bool:
        """Whether a pixel is set."""
        return bool(self.mask.any())

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the image."""
        rows, columns = self.mask.shape
        return slice(self.y, self.y + rows), slice(self.x, self.x + columns)

    def tight(self) -> Window:
        """The smallest window with the same pixels; there has to be one."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        top, left = int(rows[0]), int(columns[0])
        part = self.mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
        # A small part must not keep the memory of a large canvas.
        part = part.copy() if part.size < self.mask.size else part
        return Window(part, self.x + left, self.y + top)


def unite(windows: Sequence[Window]) -> Window:
    """The union of windows, at least one."""
    left, top = min(item.x for item in windows), min(item.y for item in windows)
    right = max(item.place[1].stop for item in windows)
    bottom = max(item.place[0].stop for item in windows)
    canvas = Window(np.zeros((bottom - top, right - left), bool), left, top)
    for item in windows:
        canvas.mask[Window(item.mask, item.x - left, item.y - top).place] |= item.mask
    return canvas


def draw_polygons(
    polygons: Sequence[Sequence[float] | np.ndarray], shape: tuple[int, int], where: str
) -> Window:
    """Union of polygons, drawn as pycocotools does, so that evaluation sees the same pixels.

    Args:
        polygons (Sequence[Sequence[float] | np.ndarray]): x0, y0, x1, y1, ... each, in pixels.
        shape (tuple[int, int]): Height and width in pixels; what lies outside is cut off.
        where (str): Their place, for messages.

    Raises:
        DatasetError: Corners far outside of the image, or that are no finite numbers.
    """
    from pycocotools import mask as coco_mask

    corners: list[np.ndarray] = [np.asarray(polygon, float).reshape(-1, 2) for polygon in polygons]
    check_near(corners, shape, where)
    # Rounded here as pycocotools would, so that a shift by whole pixels cannot change a pixel.
    corners = [np.trunc(_SCALE * points + 0.5) for points in corners]
    every = np.concatenate(corners) / _SCALE
    (left, right), (top, bottom) = (
        (
            min(max(int(every[:, axis].min()) - 1, 0), shape[1 - axis] - 1),
            max(min(int(every[:, axis].max()) + 2, shape[1 - axis]), 1),
        )
        for axis in (0, 1)
    )
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    moved = [points - _SCALE * np.array([left, top]) for points in corners]
    # pycocotools adds a half and cuts towards zero, which must give the same fifth again.
    moved = [(np.where(points < 0, points - 0.75, points) / _SCALE).ravel() for points in moved]
    runs = coco_mask.frPyObjects([item.tolist() for item in moved], bottom - top, right - left)
    return Window(coco_mask.decode(coco_mask.merge(runs)).astype(bool), left, top)


def draw_runs(counts: np.ndarray, shape: tuple[int, int]) -> Window:
    """Pixels of COCO's run lengths: column by column, background first.

    Args:
        counts (np.ndarray): Lengths, not negative, that add up to the image.
        shape (tuple[int, int]): Height and width in pixels.
    """
    height = shape[0]
    ends = np.cumsum(counts)
    starts, ends = ends[0:-1:2], ends[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    if not len(starts):
        return Window(np.zeros((1, 1), bool))
    first, last = int(starts[0]) // height, (int(ends[-1]) - 1) // height
    steps = np.zeros((last - first + 1) * height + 1, np.int8)
    np.add.at(steps, starts - first * height, 1)
    np.add.at(steps, ends - first * height, -1)
    filled = np.cumsum(steps[:-1], dtype=np.int8).astype(bool)
    return Window(filled.reshape(-1, height).T, first, 0)


def draw_ellipse(
    centre: tuple[float, float],
    radii: tuple[float, float],
    angle: float,
    shape: tuple[int, int],
    where: str,
) -> Window:
    """Pixels whose centre lies in an ellipse.

    Args:
        centre (tuple[float, float]): x and y in pixels.
        radii (tuple[float, float]): Along the first axis and the second, in pixels.
        angle (float): Of the first axis against x, in degrees, clockwise as seen on the image.
        shape (tuple[int, int]): Height and width in pixels.
        where (str): Its place, for messages.

    Raises:
        DatasetError: An ellipse far outside of the image, or numbers that are not finite.
    """
    (x, y), (a, b), turn = centre, radii, math.radians(angle % 360 if math.isfinite(angle) else 0)
    if not math.isfinite(angle) or a < 0 or b < 0:
        raise DatasetError(f'{where}: an ellipse of the radii {a:g} and {b:g} at {angle:g} degrees')
    reach_x = math.hypot(a * math.cos(turn), b * math.sin(turn))
    reach_y = math.hypot(a * math.sin(turn), b * math.cos(turn))
    check_near([np.array([[x - reach_x, y - reach_y], [x + reach_x, y + reach_y]])], shape, where)
    left, top = max(int(x - reach_x) - 1, 0), max(int(y - reach_y) - 1, 0)
    right, bottom = min(int(x + reach_x) + 2, shape[1]), min(int(y + reach_y) + 2, shape[0])
    if a == 0 or b == 0 or right <= left or bottom <= top:
        return Window(np.zeros((1, 1), bool))
    rows, columns = np.ogrid[top:bottom, left:right]
    across, down = columns + 0.5 - x, rows + 0.5 - y
    along = across * math.cos(turn) + down * math.sin(turn)
    aside = down * math.cos(turn) - across * math.sin(turn)
    return Window((along / a) ** 2 + (aside / b) ** 2 <= 1, left, top)


def rotated_corners(
    x: float, y: float, width: float, height: float, angle: float, pivot: tuple[float, float]
) -> np.ndarray:
    """Corners of a box that was turned, (4, 2).

    Args:
        x (float): Left edge before the turn.
        y (float): Upper edge before the turn.
        width (float): Width.
        height (float): Height.
        angle (float): In degrees, clockwise as seen on the image.
        pivot (tuple[float, float]): The point that stays.
    """
    turn = math.radians(angle)
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]]) - pivot
    matrix = [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]
    return corners @ np.array(matrix) + pivot


def hull(points: np.ndarray) -> np.ndarray:
    """The convex hull of points, (n, 2) each."""
    from .. import opencv as cv2

    return cv2.convexHull(points.astype(np.float32))[:, 0, :].astype(float)


def check_near(corners: Iterable[np.ndarray], shape: tuple[int, int], where: str) -> None:
    """Refuse corners so far outside that they are no overshoot of an annotator.

    Args:
        corners (Iterable[np.ndarray]): (n, 2) x and y in pixels each.
        shape (tuple[int, int]): Height and width of the image in pixels.
        where (str): Their place, for messages.

    Raises:
        DatasetError: A corner more than ten sides of the image away, or that is not finite.
    """
    height, width = shape
    for points in corners:
        if not np.isfinite(points).all():
            raise DatasetError(f'{where}: coordinates that are not finite numbers')
        far = np.abs(points) > _FARTHEST * np.array([width, height])
        if far.any():
            x, y = points[far.any(axis=1)][0]
            raise DatasetError(
                f'{where}: a corner at x {x:g}, y {y:g}, far outside of the image of '
                f'{width}x{height} pixels'
            )
