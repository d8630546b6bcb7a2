"""The eight symmetries of the square."""

from __future__ import annotations

import numpy as np

__all__ = ['SYMMETRIES', 'turn']

#: Names, by index. The second half mirrors first.
SYMMETRIES = (
    'as it is',
    'rotated by 90',
    'rotated by 180',
    'rotated by 270',
    'mirrored left to right',
    'transposed',
    'mirrored upside down',
    'transposed, other diagonal',
)


def turn(image: np.ndarray, symmetry: int) -> np.ndarray:
    """Apply a symmetry, rotations counter-clockwise.

    Args:
        image (np.ndarray): (height, width[, channels]).
        symmetry (int): Index into :data:`SYMMETRIES`.
    """
    return np.rot90(image[:, ::-1] if symmetry >= 4 else image, symmetry % 4)
