"""Masks with holes, cut into pieces without."""

from __future__ import annotations

from collections import Counter

import numpy as np

__all__ = ['pieces_without_holes']


def pieces_without_holes(labels: np.ndarray) -> np.ndarray:
    """Label pieces of components so that none has a hole.

    The components are built up column by column from vertical runs of pixels. A run joins a piece
    that it touches once; one that would close a ring around a hole does not. The runs of a piece
    thus form a tree, and a tree has no hole.

    Args:
        labels (np.ndarray): Number of the 8-connected component of each pixel, 0 for none.

    Returns:
        np.ndarray: Number of the piece of each pixel, 0 for none. The union is the same.
    """
    height, width = labels.shape
    # With an empty row between the columns, all runs are those of one long line.
    line = np.zeros((width, height + 1), bool)
    line[:, :height] = labels.T > 0
    steps = np.diff(line.ravel().astype(np.int8), prepend=0)
    starts, stops = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    pieces = _Pieces()
    numbers = _joined(starts.tolist(), stops.tolist(), height + 1, pieces)
    found = np.array([pieces.root(number) for number in numbers])
    _, found = np.unique(found, return_inverse=True)
    flat = np.zeros(line.size, np.int64)
    flat[line.ravel()] = np.repeat(found + 1, stops - starts)
    return np.ascontiguousarray(flat.reshape(line.shape)[:, :height].T)


def _joined(starts: list[int], stops: list[int], pitch: int, pieces: _Pieces) -> list[int]:
    """The piece of each run; ``pitch`` is the distance between columns."""
    numbers: list[int] = []
    first = 0  # run that the column before may still touch
    for start, stop in zip(starts, stops):
        # In the column before, 8-connected: from one pixel above to one below.
        low, high = start - pitch, stop - pitch
        while stops[first] < low:
            first += 1
        touched = []
        other = first
        while other < len(numbers) and starts[other] <= high:
            touched.append(pieces.root(numbers[other]))
            other += 1
        numbers.append(pieces.add(Counter(touched)))
    return numbers


class _Pieces:
    """Pieces that grow together, and which of them lie side by side without being joined."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._beside: list[set[int]] = []

    def root(self, number: int) -> int:
        """The piece that a piece has become."""
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def add(self, touched: Counter[int]) -> int:
        """Add a run that touches pieces so many times each, and return its piece."""
        own: int | None = None
        refused = []
        for piece, times in touched.items():
            if times > 1 or (own is not None and piece in self._beside[own]):
                refused.append(piece)
            else:
                own = piece if own is None else self._join(own, piece)
        if own is None:
            own = len(self._parent)
            self._parent.append(own)
            self._beside.append(set())
        for piece in refused:
            self._beside[own].add(piece)
            self._beside[piece].add(own)
        return own

    def _join(self, one: int, other: int) -> int:
        if len(self._beside[one]) < len(self._beside[other]):
            one, other = other, one
        for piece in self._beside[other]:
            self._beside[piece].discard(other)
            self._beside[piece].add(one)
        self._beside[one] |= self._beside[other]
        self._beside[other] = set()
        self._parent[other] = one
        return one
