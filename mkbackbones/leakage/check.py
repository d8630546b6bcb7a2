"""The whole check: pictures in, pairs that share content out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np

from .. import opencv as cv2
from .level import Level
from .pictures import Picture
from .pieces import turned_origin
from .search import (
    Hit,
    Pair,
    most_partners,
    ordered,
    propose,
    propose_turned,
    rescore,
)
from .surfaces import COARSE, FULL, MIDDLE, Surfaces
from .symmetries import SYMMETRIES, turn

__all__ = ['Shared', 'find_shared', 'overlap_slices']

#: A shift counts only if it fits that much better than any other one, or if most of the detail
#: agrees: a brushed finish also fits a little further along the brush.
MIN_DISTINCT = 1.75
MOST_DETAIL = 0.6
#: Least correlation of the common part with even lighting. Two photos of one camera also share the
#: fixed pattern of its sensor, which is significant but explains little of what is seen.
MIN_CORRELATION = 0.4
#: A picture shares content with another as a whole, not as a crop, from this overlap on.
WHOLE = 0.97
#: Mean difference of grey levels, blurred, above which two copies were exposed differently.
EXPOSURE = 3.0

#: Pieces of two pictures that are looked at closer, those that fit best.
PIECE_PAIRS = 4
#: From so many identical pictures on, not all pairs of them are told.
MANY = 50

Report = Callable[[str, int, int], None]


#: What two pictures are to each other; a copy is encoded anew, an exposure has other brightness,
#: contrast or gamma.
SharedKind = Literal[
    'identical file', 'identical pixels', 'copy', 'exposure', 'turned copy', 'overlap'
]


@dataclass(frozen=True)
class Shared:
    """Two pictures that share content.

    Args:
        first (Picture): One picture.
        second (Picture): The other.
        kind (SharedKind): What they are to each other.
        symmetry (str): What was done to the first picture to fit: one of :data:`SYMMETRIES`.
        shift (tuple[int, int]): x, y in pixels from a place in the (turned) first picture to the
            same place in the second.
        overlap (float): Common share of the smaller picture.
        correlation (float): Of the common part, with even lighting.
        score (float): Significance, see :class:`Level`.
        distinct (float): Score over that of the next best shift.
    """

    first: Picture
    second: Picture
    kind: SharedKind
    symmetry: str
    shift: tuple[int, int]
    overlap: float
    correlation: float
    score: float
    distinct: float

    @property
    def crosses(self) -> bool:
        """Whether the two lie in different splits."""
        return None not in (self.first.split, self.second.split) and (
            self.first.split != self.second.split
        )


def find_shared(
    pictures: Sequence[Picture],
    *,
    turned_crops: bool = False,
    report: Report | None = None,
    warn: Callable[[str], None] | None = None,
) -> list[Shared]:
    """Find all pairs that share content.

    Args:
        pictures (Sequence[Picture]): At least two.
        turned_crops (bool): Also look for crops that are turned *and* shifted; eight times the
            work.
        report (Report | None): Called as ``report(step, done, total)``.
        warn (Callable[[str], None] | None): Called with a sentence for each limit that was met.

    Raises:
        DatasetError: A picture cannot be read.
    """
    report = report or (lambda step, done, total: None)
    warn = warn or (lambda sentence: None)
    surfaces = Surfaces(pictures, report)
    if halved := sum(times > 0 for times in surfaces.halved):
        warn(
            f'{halved} pictures are so much larger than the usual one that they are compared at a '
            'coarser scale: crops of the usual scale are not looked for in them'
        )
    hits = _search(surfaces, turned_crops, report, warn)
    judged: dict[tuple[int, int], Shared] = {}
    pairs = ordered(lambda hit: judge(surfaces, pictures, hit), hits)
    for done, (hit, pair) in enumerate(zip(hits, pairs), start=1):
        report('measuring what is shared', done, len(hits))
        if pair.correlation > MIN_CORRELATION:
            one, other = (surfaces.pieces[index].picture for index in hit.pair[:2])
            judged[one, other] = pair
    found = {(min(key), max(key)): pair for key, pair in judged.items()}
    found.update(_identical(pictures, surfaces))
    return sorted(found.values(), key=lambda pair: (-pair.overlap, -pair.score, pair.first.key))


def judge(surfaces: Surfaces, pictures: Sequence[Picture], hit: Hit) -> Shared:
    """Name what the two pictures of a verified hit have in common."""
    first, second = (surfaces.pieces[index] for index in hit.pair[:2])
    symmetry = hit.pair.symmetry
    one = turn(surfaces.lit(first.picture), symmetry)
    other = surfaces.lit(second.picture)
    # From the pieces to the pictures that they were cut from.
    start = turned_origin(first, surfaces.grey(first.picture).shape, symmetry)
    down, right = (step + b - a for step, a, b in zip(hit.shift, start, second.origin))
    shift = down, right
    here, there = overlap_slices(one.shape, other.shape, shift)
    overlap = one[here].size / min(one.size, other.size)
    correlation = float(np.corrcoef(one[here].ravel(), other[there].ravel())[0, 1])
    kind: SharedKind = 'overlap'
    if overlap >= WHOLE:
        kind = 'turned copy' if symmetry else 'copy'
        grey = (
            turn(surfaces.grey(first.picture), symmetry)[here],
            surfaces.grey(second.picture)[there],
        )
        difference = cv2.GaussianBlur(grey[0] - grey[1], (0, 0), 3)
        if not symmetry and np.abs(difference).mean() > EXPOSURE:
            kind = 'exposure'
    scale = surfaces.scale / 2 ** surfaces.halved[first.picture]
    y, x = (round(step / scale) for step in shift)
    return Shared(
        pictures[first.picture],
        pictures[second.picture],
        kind,
        SYMMETRIES[symmetry],
        (x, y),
        overlap,
        correlation,
        hit.score,
        hit.distinct,
    )


def _search(
    surfaces: Surfaces, turned_crops: bool, report: Report, warn: Callable[[str], None]
) -> list[Hit]:
    level, total, done, crowded = surfaces.coarse(), len(surfaces.pieces), 0, 0

    def on_picture(has_too_many: bool) -> None:
        nonlocal done, crowded
        done += 1
        crowded += has_too_many
        report('comparing all with all', done, total)

    least = COARSE[2]
    proposals = propose(level, least, len(SYMMETRIES) if turned_crops else 1, on_picture)
    if not turned_crops:
        proposals += propose_turned(level, least)
    if crowded:
        warn(
            f'{crowded} pictures resemble more than {most_partners(total)} others: of these the '
            f'{most_partners(total)} that fit best are looked at closer'
        )
    pairs = _best_pieces(surfaces, proposals)
    hits = _rescore(surfaces.middle(), pairs, 'looking closer', report)
    pairs = _best_pieces(surfaces, [(h.score, h.pair) for h in hits if h.score > MIDDLE[2]])
    hits = _rescore(surfaces.full(), pairs, 'verifying', report)
    least = FULL[2]
    good = (
        hit
        for hit in hits
        if hit.score > least and (hit.distinct > MIN_DISTINCT or hit.correlation > MOST_DETAIL)
    )
    best: dict[tuple[int, int], Hit] = {}
    for hit in good:
        key = _pictures(surfaces, hit.pair)
        if key not in best or hit.score > best[key].score:
            best[key] = hit
    return [best[key] for key in sorted(best)]


def _pictures(surfaces: Surfaces, pair: Pair) -> tuple[int, int]:
    """The two pictures that a pair of pieces belongs to, in order."""
    first, second = (surfaces.pieces[index].picture for index in pair[:2])
    return min(first, second), max(first, second)


def _best_pieces(surfaces: Surfaces, proposals: Iterable[tuple[float, Pair]]) -> list[Pair]:
    """Of each two pictures and symmetry the pieces that fit best; none of one picture alone."""
    found = defaultdict(list)
    for score, pair in proposals:
        first, second = _pictures(surfaces, pair)
        if first != second and surfaces.halved[first] == surfaces.halved[second]:
            found[first, second, pair.symmetry].append((score, pair))
    return [pair for ones in found.values() for _, pair in sorted(ones, reverse=True)[:PIECE_PAIRS]]


def _rescore(level: Level, pairs: list[Pair], name: str, report: Report) -> Iterator[Hit]:
    """Score pairs at a level, with progress."""
    for done, hit in enumerate(rescore(level, pairs), start=1):
        report(name, done, len(pairs))
        yield hit


def _identical(pictures: Sequence[Picture], surfaces: Surfaces) -> dict[tuple[int, int], Shared]:
    """Pairs with the same pixels, whatever these show: flat pictures too.

    Of very many the first is paired with each: that is enough to see that they cross splits.
    """
    same = defaultdict(list)
    for index, item in enumerate(surfaces.kept):
        same[item.digest].append(index)
    found = {}
    for members in same.values():
        many = len(members) > MANY
        pairs = product(members[:1], members[1:]) if many else combinations(members, 2)
        for first, second in pairs:
            one, other = surfaces.kept[first], surfaces.kept[second]
            found[first, second] = Shared(
                pictures[first],
                pictures[second],
                'identical file' if one.file_digest == other.file_digest else 'identical pixels',
                SYMMETRIES[0],
                (0, 0),
                1.0,
                1.0,
                math.sqrt(one.size),
                math.inf,
            )
    return found


def overlap_slices(
    shape: tuple[int, int], other: tuple[int, int], shift: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The common part in both pictures, for a shift (y, x) from the first to the second."""
    here, there = [], []
    for length, limit, step in zip(shape, other, shift):
        start, stop = max(0, -step), min(length, limit - step)
        here.append(slice(start, stop))
        there.append(slice(start + step, stop + step))
    return (here[0], here[1]), (there[0], there[1])
