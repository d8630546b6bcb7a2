"""Windows that cover a large picture, and what each of them answers for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..runner.errors import InputError

if TYPE_CHECKING:
    import numpy as np

__all__ = ['OVERLAP', 'Tiling', 'Window']

#: Pixels that neighbouring tiles share unless it is said.
OVERLAP = 128

#: Smaller tiles than this are a slip of the hand.
_SMALLEST = 16


@dataclass(frozen=True)
class Window:
    """A part of a picture, in pixels.

    Args:
        left (int): First column.
        top (int): First row.
        right (int): Behind the last column.
        bottom (int): Behind the last row.
        kept (tuple[int, int, int, int]): Left, top, right and bottom of what this window alone
            answers for in a class map: up to the middle of what it shares with its neighbours.
    """

    left: int
    top: int
    right: int
    bottom: int
    kept: tuple[int, int, int, int]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """In pixels."""
        return self.bottom - self.top

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """The window of a picture, (height, width, ...)."""
        import numpy as np

        return np.ascontiguousarray(pixels[self.top : self.bottom, self.left : self.right])

    def shared(self, other: Window) -> tuple[int, int, int, int] | None:
        """Left, top, right and bottom of what two windows both see; None if nothing."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return (left, top, right, bottom) if left < right and top < bottom else None


@dataclass(frozen=True)
class Tiling:
    """How large pictures are cut.

    sahi is not used for it: its releases ask for a build of OpenCV that needs either NumPy 2 or
    libGL, and its merging takes two long halves for two objects, as it compares them whole.

    Args:
        tile (int): Longest side of a window in pixels.
        overlap (int): Least that neighbours share in pixels.

    Raises:
        InputError: A tile that is too small, or an overlap beyond its half.
    """

    tile: int
    overlap: int = OVERLAP

    def __post_init__(self) -> None:
        if self.tile < _SMALLEST:
            raise InputError(
                f'tile {self.tile} is too small; give at least {_SMALLEST} pixels, at best the '
                'size of the pictures in training'
            )
        if not 0 <= self.overlap <= self.tile // 2:
            raise InputError(
                f'overlap {self.overlap} has to be from 0 to half of tile {self.tile}, '
                f'{self.tile // 2}; at best the length of a usual defect'
            )

    def windows(self, width: int, height: int) -> list[Window]:
        """Windows from left to right and from top to bottom; one for a picture within a tile."""
        return [
            Window(left, top, right, bottom, (kept_left, kept_top, kept_right, kept_bottom))
            for top, bottom, kept_top, kept_bottom in self._spans(height)
            for left, right, kept_left, kept_right in self._spans(width)
        ]

    def _spans(self, length: int) -> list[tuple[int, int, int, int]]:
        """Begin and end of each window along a side, and of what is kept of it."""
        if length <= self.tile:
            return [(0, length, 0, length)]
        count = -(-(length - self.overlap) // (self.tile - self.overlap))
        # Evenly spread, so that the last two do not share nearly everything.
        begins = [(length - self.tile) * i // (count - 1) for i in range(count)]
        ends = [begin + self.tile for begin in begins]
        middles = [(begin + end) // 2 for begin, end in zip(begins[1:], ends[:-1])]
        return list(zip(begins, ends, [0, *middles], [*middles, length]))
