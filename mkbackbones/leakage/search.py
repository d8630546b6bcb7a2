"""From all pairs to verified ones: two passes over coarser pictures, then the full ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np

from ..cores import usable_cores
from .level import Level
from .symmetries import SYMMETRIES, turn

__all__ = ['Hit', 'Pair', 'most_partners', 'ordered', 'propose', 'propose_turned', 'rescore']

#: Pictures correlated in one go: with more, the batch leaves the processor's cache.
_BATCH = 128
#: Pictures whose spectra are kept while pairs of them are scored.
_NEAR = 256
#: Queries of one shape that share a table of weights, and pairs of one query in one go.
_QUERIES = 16
#: Most partners of a picture that are looked at closer, those that fit best: so many, or one in
#: ten of all. Two to four in a hundred score high by chance; in a set of copies of one, all do.
PARTNERS = 100


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


#: Pairs with their scores, before they are looked at closer.
Proposals = list[tuple[float, Pair]]


def most_partners(total: int) -> int:
    """Most partners of a picture among so many."""
    return max(PARTNERS, total // 10)


def propose(
    level: Level, threshold: float, symmetries: int, on_picture: Callable[[bool], None]
) -> Proposals:
    """Compare all pictures with all, in all symmetries, and keep what scores above chance.

    Args:
        level (Level): The coarsest level, pictures of one shape in a row.
        threshold (float): Least score.
        symmetries (int): 8, or 1 for pictures that are only shifted.
        on_picture (Callable[[bool], None]): Called after each picture, and told whether it had too
            many partners, see :func:`most_partners`.
    """
    shapes = [tile.shape for tile in level.tiles]
    spectra = np.stack([level.spectrum(tile) for tile in level.tiles])
    total = len(shapes)
    most = most_partners(total)

    def compare(queries: range) -> list[Proposals]:
        found: dict[int, Proposals] = {index: [] for index in queries}
        for symmetry in range(symmetries):
            turned = {index: level.turned(index, symmetry) for index in queries}
            for block in _blocks(queries.start + 1, total):
                weights = _weights(level, turned[queries.start][0], shapes[block])
                for index in queries:
                    scores = level.scores(turned[index][1], spectra[block], weights)
                    best = scores.max(axis=(1, 2))
                    for offset in np.flatnonzero(best > threshold).tolist():
                        if (other := block.start + offset) > index:
                            pair = Pair(index, other, symmetry)
                            found[index].append((float(best[offset]), pair))
        return [found[index] for index in queries]

    proposals: Proposals = []
    for results in ordered(compare, _queries(shapes)):
        for found in results:
            proposals += sorted(found, reverse=True)[:most]
            on_picture(len(found) > most)
    return proposals


def _weights(level: Level, shape: tuple[int, int], others: Sequence[tuple[int, int]]) -> np.ndarray:
    """Weights of a query of one shape against others: one for all, or one for each."""
    return level.weight(shape, others[0]) if len(set(others)) == 1 else level.weights(shape, others)


def propose_turned(level: Level, threshold: float) -> Proposals:
    """Compare all pictures with all, turned in every way but not shifted: matrix products.

    Args:
        level (Level): The coarsest level, pictures of one shape in a row.
        threshold (float): Least score.
    """
    runs = {
        shape: range(members[0], members[-1] + 1)
        for shape, members in _by_shape([tile.shape for tile in level.tiles])
    }
    proposals: dict[int, Proposals] = defaultdict(list)
    for shape, run in runs.items():
        for symmetry in range(1, len(SYMMETRIES)):
            wanted = shape[::-1] if symmetry % 2 else shape
            others = runs.get(wanted, range(0))
            for start, other in _tables(run, others):
                turned = np.stack([turn(level.tiles[i], symmetry).ravel() for i in start])
                flat = np.stack([level.tiles[i].ravel() for i in other])
                scores = turned @ flat.T / np.sqrt(turned.shape[1])
                for i, j in np.argwhere(scores > threshold).tolist():
                    if start[i] < other[j]:
                        pair = Pair(start[i], other[j], symmetry)
                        proposals[start[i]].append((float(scores[i, j]), pair))
    most = most_partners(len(level.tiles))
    return [one for found in proposals.values() for one in sorted(found, reverse=True)[:most]]


def _tables(run: range, others: range) -> Iterator[tuple[range, range]]:
    """Both runs in parts, so that a table of scores stays small."""
    for start in range(0, len(run), _BATCH):
        for other in range(0, len(others), 8 * _BATCH):
            yield run[start : start + _BATCH], others[other : other + 8 * _BATCH]


def _by_shape(shapes: Sequence[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], list[int]]]:
    for shape, members in groupby(range(len(shapes)), key=lambda i: shapes[i]):
        yield shape, list(members)


def _queries(shapes: Sequence[tuple[int, int]]) -> Iterator[range]:
    """Pictures of one shape, a few at a time."""
    for _, members in _by_shape(shapes):
        for start in range(members[0], members[-1] + 1, _QUERIES):
            yield range(start, min(start + _QUERIES, members[-1] + 1))


def _blocks(start: int, stop: int) -> Iterator[slice]:
    for begin in range(start, stop, _BATCH):
        yield slice(begin, min(begin + _BATCH, stop))


def ordered(work: Callable, jobs: Iterable) -> Iterator:
    """``map`` on all cores; numpy, OpenCV and scipy's FFT release the GIL.

    Takes no more jobs than it has room for, so that results do not pile up.
    """
    jobs = iter(jobs)
    with ThreadPoolExecutor(usable_cores()) as pool:
        waiting = [pool.submit(work, job) for job in islice(jobs, 4 * usable_cores())]
        while waiting:
            result = waiting.pop(0).result()
            waiting += [pool.submit(work, job) for job in islice(jobs, 1)]
            yield result


def rescore(level: Level, pairs: Iterable[Pair]) -> Iterator[Hit]:
    """Score pairs at a finer level.

    Args:
        level (Level): The level; the pairs index its pictures.
        pairs (Iterable[Pair]): What to score.
    """
    # Pairs of one part of the set with another in a row: their spectra are still at hand.
    keys = {
        pair: (pair.first // _NEAR, pair.second // _NEAR, pair.first, pair.symmetry)
        for pair in pairs
    }
    jobs = []
    for (*_, first, symmetry), group in groupby(
        sorted(keys, key=lambda pair: (keys[pair], pair.second)), key=keys.__getitem__
    ):
        members = list(group)
        jobs += [
            (first, symmetry, members[i : i + _QUERIES]) for i in range(0, len(members), _QUERIES)
        ]

    def score(job: tuple) -> list[Hit]:
        first, symmetry, members = job
        shape, query = level.turned(first, symmetry)
        hits = []
        for pair in members:  # one by one: a surface and its spectrum stay in the cache
            other, spectrum = level.straight(pair.second)
            weight = level.weight(shape, other)
            hits.append(_hit(level, pair, level.scores(query, spectrum, weight), weight))
        return hits

    for hits in ordered(score, jobs):
        yield from hits


def _hit(level: Level, pair: Pair, surface: np.ndarray, weight: np.ndarray) -> Hit:
    # The main lobe of a whitened picture is a few pixels wide at every level.
    clear = np.arange(-max(level.grid // 40, 3), max(level.grid // 40, 3) + 1)
    y, x = (int(i) for i in np.unravel_index(surface.argmax(), surface.shape))
    score = float(surface[y, x])
    surface[np.ix_((y + clear) % level.grid, (x + clear) % level.grid)] = 0
    elsewhere = max(float(surface.max()), 1e-6)
    # The weight is one over the root of the common pixels.
    correlation = score * float(weight[y, x] or 1.0)
    shift = (level.signed(y), level.signed(x))
    return Hit(pair, score, score / elsewhere, shift, correlation)
