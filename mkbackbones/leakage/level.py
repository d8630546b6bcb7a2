"""Correlation of whitened pictures over all shifts, at one resolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.fft import irfft2, rfft2

from mkbackbones.leakage.symmetries import turn
from mkbackbones.leakage.tiles import grid_size

__all__ = ['MIN_OVERLAP', 'Level']

#: Share of the smaller picture that has to be common. A quarter of the side over the full other
#: side is 0.25; a diagonal shift loses both ways.
MIN_OVERLAP = 0.2


class Level:
    """Whitened pictures at one resolution, with their spectra.

    The correlation at a shift is divided by the root of the number of common pixels. For pictures
    without common content that is a score of zero mean and nearly unit deviation at every shift;
    for equal content it is the root of that number.

    Args:
        tiles (Sequence[np.ndarray]): Output of :func:`whiten`, (height, width) each.
    """

    def __init__(self, tiles: Sequence[np.ndarray]) -> None:
        self.tiles = tiles
        self.grid = grid_size(max(max(tile.shape) for tile in tiles))
        self._spectra = np.stack([self._spectrum(tile) for tile in tiles])
        self._weights: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}

    def _spectrum(self, tile: np.ndarray) -> np.ndarray:
        return rfft2(tile, s=(self.grid, self.grid))

    def turned(self, index: int, symmetry: int) -> tuple[tuple[int, int], np.ndarray]:
        """Shape and conjugate spectrum of a picture after a symmetry."""
        tile = turn(self.tiles[index], symmetry)
        return tile.shape, self._spectrum(tile).conj()

    def scores(
        self, query: tuple[tuple[int, int], np.ndarray], others: Sequence[int] | slice
    ) -> np.ndarray:
        """Score of a turned picture against others of one shape, at every shift.

        Args:
            query (tuple): Output of :meth:`turned`.
            others (Sequence[int] | slice): Indices of pictures that have the same shape.

        Returns:
            np.ndarray: (others, grid, grid); entry (dy, dx), modulo the grid, is the shift that
            takes a pixel of the query to the pixel of the other picture.
        """
        shape, spectrum = query
        spectra = self._spectra[others]
        first = others.start if isinstance(others, slice) else others[0]
        weight, _ = self.weight(shape, self.tiles[first].shape)
        scores = irfft2(spectra * spectrum, s=(self.grid, self.grid), overwrite_x=True)
        scores *= weight
        return scores

    def weight(
        self, shape: tuple[int, int], other: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """One over the root of the common pixels at each shift, 0 where they are too few.

        Returns:
            tuple[np.ndarray, np.ndarray]: The weight and the number of common pixels, both
            (grid, grid).
        """
        key = (*shape, *other)
        if key not in self._weights:
            common = np.outer(*(self._common(a, b) for a, b in zip(shape, other)))
            least = MIN_OVERLAP * min(np.prod(shape), np.prod(other))
            weight = np.where(common >= least, 1 / np.sqrt(np.maximum(common, 1)), 0)
            self._weights[key] = weight.astype(np.float32), common
        return self._weights[key]

    def _common(self, length: int, other: int) -> np.ndarray:
        """Common pixels along one axis for each shift modulo the grid."""
        shift = np.arange(self.grid)

        def common(shift: np.ndarray) -> np.ndarray:
            return np.minimum(length, other - shift) - np.maximum(0, -shift)

        return np.maximum(np.maximum(common(shift), common(shift - self.grid)), 0)

    def signed(self, shift: int) -> int:
        """A shift modulo the grid as a signed number."""
        return shift - self.grid if shift > self.grid // 2 else shift
