"""Correlation of whitened pictures over all shifts, at one resolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from scipy.fft import irfft2, rfft2

from .symmetries import turn
from .tiles import grid_size

__all__ = ['MIN_OVERLAP', 'Level']

#: Share of the smaller picture that has to be common. A quarter of the side over the full other
#: side is 0.25; a diagonal shift loses both ways.
MIN_OVERLAP = 0.2
#: Bytes of the spectra that are kept.
KEPT_BYTES = 300 * 2**20

Shape = tuple[int, int]


class Tiles(Protocol):
    """What a :class:`Level` needs of a sequence of arrays."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


class Level:
    """Whitened pictures at one resolution.

    The correlation at a shift is divided by the root of the number of common pixels. For pictures
    without common content that is a score of zero mean and nearly unit deviation at every shift;
    for equal content it is the root of that number.

    Args:
        tiles (Tiles): Output of :func:`whiten`, (height, width) each; may be made
            anew at each access.
        side (int): Largest side of any of them.
    """

    def __init__(self, tiles: Tiles, side: int) -> None:
        self.tiles = tiles
        self.grid = grid_size(side)
        # Pictures of many sizes have as many pairs of shapes as pairs: only some are kept.
        self.weight = lru_cache(32)(self._weight)
        self.along = lru_cache(4096)(self._along)
        self.straight = lru_cache(max(KEPT_BYTES // (4 * self.grid**2), 32))(self._straight)

    def spectrum(self, tile: np.ndarray) -> np.ndarray:
        """Spectrum (grid, grid / 2 + 1) of a tile."""
        return rfft2(tile.astype(np.float32, copy=False), s=(self.grid, self.grid))

    def _straight(self, index: int) -> tuple[Shape, np.ndarray]:
        """Shape and spectrum of a picture as it is."""
        tile = self.tiles[index]
        return tile.shape, self.spectrum(tile)

    def turned(self, index: int, symmetry: int) -> tuple[Shape, np.ndarray]:
        """Shape and conjugate spectrum of a picture after a symmetry."""
        tile = turn(self.tiles[index], symmetry)
        return tile.shape, self.spectrum(tile).conj()

    def scores(self, query: np.ndarray, spectra: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Score of a turned picture against others, at every shift.

        Args:
            query (np.ndarray): Conjugate spectrum of the turned picture.
            spectra (np.ndarray): Spectra of the others, (others, grid, grid / 2 + 1).
            weights (np.ndarray): See :meth:`weight`; (grid, grid), or one for each of the others.

        Returns:
            np.ndarray: (others, grid, grid); entry (dy, dx), modulo the grid, is the shift that
            takes a pixel of the query to the pixel of the other picture.
        """
        scores = irfft2(spectra * query, s=(self.grid, self.grid), overwrite_x=True)
        scores *= weights
        return scores

    def _weight(self, shape: Shape, other: Shape) -> np.ndarray:
        return self.weights(shape, [other])[0]

    def weights(self, shape: Shape, others: Sequence[Shape]) -> np.ndarray:
        """One over the root of the common pixels at each shift, 0 where they are too few.

        Args:
            shape (tuple[int, int]): Of one picture.
            others (Sequence[tuple[int, int]]): Of those that it is compared with.

        Returns:
            np.ndarray: (others, grid, grid), float32.
        """
        rows, columns = (
            np.stack([self.along(shape[axis], other[axis]) for other in others]) for axis in (0, 1)
        )
        least = MIN_OVERLAP * np.minimum(np.prod(shape), np.prod(others, axis=1))
        enough = rows[:, :, None] * columns[:, None, :] >= least[:, None, None].astype(np.float32)
        # Roots of rows and columns, not of pixels: this is a third of the work of a comparison.
        rows, columns = (1 / np.sqrt(np.maximum(common, 1)) for common in (rows, columns))
        weights = rows[:, :, None] * columns[:, None, :]
        weights *= enough
        return weights

    def _along(self, length: int, other: int) -> np.ndarray:
        """Common pixels along one axis for each shift modulo the grid, float32."""
        shift = np.arange(self.grid)

        def common(shift: np.ndarray) -> np.ndarray:
            return np.minimum(length, other - shift) - np.maximum(0, -shift)

        both = np.maximum(common(shift), common(shift - self.grid))
        return np.maximum(both, 0).astype(np.float32)

    def signed(self, shift: int) -> int:
        """A shift modulo the grid as a signed number."""
        return shift - self.grid if shift > self.grid // 2 else shift
