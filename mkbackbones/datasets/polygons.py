"""Exact polygons of a binary mask."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

__all__ = ['mask_to_polygons']

_EIGHT = np.ones((3, 3), bool)


def mask_to_polygons(mask: np.ndarray) -> list[list[int]]:
    """Trace a mask along its pixel edges, so that drawing the polygons gives the mask back.

    COCO polygons cannot express a hole, so a component with a hole is cut in two through it.
    Contours through pixel centres, as OpenCV returns them, would lose half a pixel all around,
    and thin scratches altogether.

    Args:
        mask (np.ndarray): Pixels of one object, (height, width) bool, any number of components.

    Returns:
        list[list[int]]: For each piece x0, y0, x1, y1, ... with pixel corners as vertices. Their
        union drawn by pycocotools equals ``mask``.
    """
    labels, count = ndimage.label(mask, _EIGHT)
    polygons = []
    for index, window in enumerate(ndimage.find_objects(labels, count), start=1):
        part = labels[window] == index
        top, left = window[0].start, window[1].start
        for piece, shift in _without_holes(part, 0):
            polygons.append(_outline(piece, left + shift, top))
    return polygons


def _without_holes(part: np.ndarray, shift: int) -> list[tuple[np.ndarray, int]]:
    """Cut a part until no piece has a hole: (piece, columns it was moved by)."""
    # The background is 4-connected where the mask is 8-connected.
    holes = ndimage.binary_fill_holes(part) & ~part
    if not holes.any():
        return [(part, shift)]
    column = int(np.flatnonzero(holes.any(axis=0))[0])
    pieces = []
    # The hole's first column becomes the right piece's open edge.
    for side, offset in ((part[:, :column], 0), (part[:, column:], column)):
        labels, count = ndimage.label(side, _EIGHT)
        for index in range(1, count + 1):
            pieces += _without_holes(labels == index, shift + offset)
    return pieces


def _outline(piece: np.ndarray, left: int, top: int) -> list[int]:
    """Corner polygon of one hole-free component, moved by (left, top)."""
    # At double size the contour runs through the inner side of every pixel edge: an even
    # coordinate 2k lies beside corner k, an odd one 2k + 1 beside corner k + 1.
    double = np.kron(piece.astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(double, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = (contours[0][:, 0, :] + 1) // 2
    corners = corners[np.any(corners != np.roll(corners, 1, axis=0), axis=1)]
    before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
    bends = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return (corners[bends] + (left, top)).ravel().tolist()
