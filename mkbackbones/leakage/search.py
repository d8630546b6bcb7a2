"""From all pairs to verified ones: two passes over coarser pictures, then the full ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, product
from typing import NamedTuple

import numpy as np

from mkbackbones.leakage.level import Level
from mkbackbones.leakage.symmetries import SYMMETRIES, turn

__all__ = ['Hit', 'Pair', 'best_symmetry', 'propose', 'propose_turned', 'rescore']

#: Pictures correlated in one go: with more, the batch leaves the processor's cache.
_BATCH = 128


class Pair(NamedTuple):
    """Two pictures, the first of them turned."""

    first: int
    second: int
    symmetry: int


class Hit(NamedTuple):
    """The best shift of a pair at one level.

    Args:
        pair (Pair): The pair.
        score (float): See :class:`Level`.
        distinct (float): The score over that of the best shift elsewhere: about 1 for chance and
            for periodic patterns, which fit at many shifts.
        shift (tuple[int, int]): From a pixel of the turned first picture to that of the second, as
            y, x in pixels of the level.
        correlation (float): Of the whitened pictures over what they share.
    """

    pair: Pair
    score: float
    distinct: float
    shift: tuple[int, int]
    correlation: float


def propose(
    level: Level, threshold: float, symmetries: int, on_picture: Callable[[], None]
) -> list[Pair]:
    """Compare all pictures with all, in all symmetries, and keep what scores above chance.

    Args:
        level (Level): The coarsest level.
        threshold (float): Least score.
        symmetries (int): 8, or 1 for pictures that are only shifted.
        on_picture (Callable[[], None]): Called after each picture, for a progress bar.
    """
    # Pictures of one shape in a row make batches that are slices.
    runs = _runs_of_shape(level)

    def compare(index: int) -> list[Pair]:
        found = []
        blocks = [block for run in runs for block in _blocks(max(run.start, index + 1), run.stop)]
        for symmetry in range(symmetries):
            query = level.turned(index, symmetry)
            for block in blocks:
                best = level.scores(query, block).max(axis=(1, 2))
                for offset in np.flatnonzero(best > threshold).tolist():
                    found.append(Pair(index, block.start + offset, symmetry))
        return found

    pairs = []
    with ThreadPoolExecutor(usable_cores()) as pool:  # numpy and scipy's FFT release the GIL
        for found in pool.map(compare, range(len(level.tiles))):
            pairs += found
            on_picture()
    return pairs


def propose_turned(level: Level, threshold: float) -> list[Pair]:
    """Compare all pictures with all, turned in every way but not shifted: matrix products.

    Args:
        level (Level): The coarsest level.
        threshold (float): Least score.
    """
    runs = _runs_of_shape(level)
    flat = [np.stack([tile.ravel() for tile in level.tiles[run]]) for run in runs]
    pairs = []
    for run, symmetry in product(runs, range(1, len(SYMMETRIES))):
        shape = turn(level.tiles[run.start], symmetry).shape
        for start in range(run.start, run.stop, _BATCH):
            stop = min(start + _BATCH, run.stop)
            tiles = level.tiles[start:stop]
            turned = np.stack([turn(tile, symmetry).ravel() for tile in tiles])
            for other, others in zip(runs, flat):
                if level.tiles[other.start].shape != shape:
                    continue
                scores = turned @ others.T / np.sqrt(turned.shape[1])
                for i, j in np.argwhere(scores > threshold).tolist():
                    if start + i < other.start + j:
                        pairs.append(Pair(start + i, other.start + j, symmetry))
    return pairs


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _runs_of_shape(level: Level) -> list[slice]:
    runs, start = [], 0
    for _, members in groupby(level.tiles, key=lambda tile: tile.shape):
        stop = start + len(list(members))
        runs.append(slice(start, stop))
        start = stop
    return runs


def _blocks(start: int, stop: int) -> Iterator[slice]:
    for begin in range(start, stop, _BATCH):
        yield slice(begin, min(begin + _BATCH, stop))


def rescore(level: Level, pairs: Iterable[Pair], *, batch: int) -> Iterator[Hit]:
    """Score pairs at a finer level.

    Args:
        level (Level): The level; the pairs index its pictures.
        pairs (Iterable[Pair]): What to score.
        batch (int): Pairs in one go.
    """

    def same(pair: Pair) -> tuple:
        return pair.first, pair.symmetry, level.tiles[pair.second].shape

    jobs = []
    for (first, symmetry, shape), members in groupby(sorted(pairs, key=same), key=same):
        members = list(members)
        jobs += [
            (first, symmetry, shape, members[i : i + batch]) for i in range(0, len(members), batch)
        ]

    def score(job: tuple) -> list[Hit]:
        first, symmetry, shape, members = job
        query = level.turned(first, symmetry)
        scores = level.scores(query, [pair.second for pair in members])
        return _hits(level, members, scores, level.weight(query[0], shape)[1])

    with ThreadPoolExecutor(usable_cores()) as pool:
        for hits in pool.map(score, jobs):
            yield from hits


def _hits(level: Level, pairs: list[Pair], scores: np.ndarray, common: np.ndarray) -> list[Hit]:
    # The main lobe of a whitened picture is a few pixels wide at every level.
    clear = np.arange(-max(level.grid // 40, 3), max(level.grid // 40, 3) + 1)
    hits = []
    for pair, surface in zip(pairs, scores):
        y, x = (int(i) for i in np.unravel_index(surface.argmax(), surface.shape))
        score = float(surface[y, x])
        surface[np.ix_((y + clear) % level.grid, (x + clear) % level.grid)] = 0
        elsewhere = max(float(surface.max()), 1e-6)
        correlation = score / max(float(common[y, x]), 1.0) ** 0.5
        shift = (level.signed(y), level.signed(x))
        hits.append(Hit(pair, score, score / elsewhere, shift, correlation))
    return hits


def best_symmetry(hits: Iterable[Hit]) -> list[Hit]:
    """The best hit of each two pictures, in order."""
    best: dict[tuple[int, int], Hit] = {}
    for hit in hits:
        key = hit.pair[:2]
        if key not in best or hit.score > best[key].score:
            best[key] = hit
    return [best[key] for key in sorted(best)]
