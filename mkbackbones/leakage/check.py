"""The whole check: pictures in, pairs that share content out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from mkbackbones.leakage.level import Level
from mkbackbones.leakage.pictures import Picture, Pixels, read_pixels
from mkbackbones.leakage.search import (
    Hit,
    Pair,
    best_symmetry,
    propose,
    propose_turned,
    rescore,
)
from mkbackbones.leakage.symmetries import SYMMETRIES, turn
from mkbackbones.leakage.tiles import even_light, shrink, whiten

__all__ = ['Shared', 'find_shared', 'overlap_slices']

#: Side in pixels, pass band and least score of the three levels. Scores of pictures without common
#: content do not depend on the texture, so these numbers hold for any set; docs/leakage.md shows
#: the gap that they lie in.
COARSE = (34, 0.35, 5.8)
MIDDLE = (100, 0.2, 12.0)
FULL = (256, 0.15, 20.0)
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

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Shared:
    """Two pictures that share content.

    Args:
        first (Picture): One picture.
        second (Picture): The other.
        kind (str): 'identical file', 'identical pixels', 'copy' (re-encoded), 'exposure' (other
            brightness, contrast or gamma), 'turned copy' or 'overlap'.
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
    kind: str
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
    pictures: Sequence[Picture], *, turned_crops: bool = False, report: Report | None = None
) -> list[Shared]:
    """Find all pairs that share content.

    Args:
        pictures (Sequence[Picture]): At least two.
        turned_crops (bool): Also look for crops that are turned *and* shifted; eight times the
            work.
        report (Report | None): Called as ``report(step, done, total)``.

    Raises:
        DatasetError: A picture cannot be read.
    """
    report = report or (lambda step, done, total: None)
    pixels = []
    for number, picture in enumerate(pictures, start=1):
        pixels.append(read_pixels(picture.path))
        report('reading', number, len(pictures))
    # Pictures of one shape in a row, see `propose`.
    order = sorted(range(len(pictures)), key=lambda index: pixels[index].grey.shape)
    pictures, pixels = [pictures[i] for i in order], [pixels[i] for i in order]
    surfaces = _Surfaces(pixels)
    hits = _search(surfaces, turned_crops, report)
    judged = {hit.pair[:2]: surfaces.judge(pictures, hit) for hit in hits}
    found = {key: pair for key, pair in judged.items() if pair.correlation > MIN_CORRELATION}
    found.update(_identical(pictures, pixels))
    return sorted(found.values(), key=lambda pair: (-pair.overlap, -pair.score, pair.first.key))


class _Surfaces:
    """The evenly lit pictures, at the resolution of the last level."""

    def __init__(self, pixels: Sequence[Pixels]) -> None:
        self.pixels = pixels
        # One scale for all: crops of one strip share it, whatever their size.
        side = math.sqrt(np.median([item.grey.size for item in pixels]))
        self.scale = min(FULL[0] / side, 1)
        self.side = side * self.scale
        self.lit = [even_light(self.grey(index)) for index in range(len(pixels))]

    def grey(self, index: int) -> np.ndarray:
        return shrink(self.pixels[index].grey.astype(np.float32), self.scale)

    def level(self, side: int, band: float, indices: Sequence[int] | None = None) -> Level:
        lit = self.lit if indices is None else [self.lit[index] for index in indices]
        return Level([whiten(shrink(image, side / self.side), band) for image in lit])

    def judge(self, pictures: Sequence[Picture], hit: Hit) -> Shared:
        """Name what the two pictures of a verified hit have in common."""
        first, second, symmetry = hit.pair
        one, other = turn(self.lit[first], symmetry), self.lit[second]
        here, there = overlap_slices(one.shape, other.shape, hit.shift)
        overlap = one[here].size / min(one.size, other.size)
        correlation = float(np.corrcoef(one[here].ravel(), other[there].ravel())[0, 1])
        kind = 'overlap'
        if overlap >= WHOLE:
            kind = 'turned copy' if symmetry else 'copy'
            grey = turn(self.grey(first), symmetry)[here], self.grey(second)[there]
            difference = cv2.GaussianBlur(grey[0] - grey[1], (0, 0), 3)
            if not symmetry and np.abs(difference).mean() > EXPOSURE:
                kind = 'exposure'
        y, x = (round(step / self.scale) for step in hit.shift)
        return Shared(
            pictures[first],
            pictures[second],
            kind,
            SYMMETRIES[symmetry],
            (x, y),
            overlap,
            correlation,
            hit.score,
            hit.distinct,
        )


def _search(surfaces: _Surfaces, turned_crops: bool, report: Report) -> list[Hit]:
    side, band, least = COARSE
    level, total, done = surfaces.level(side, band), len(surfaces.lit), 0

    def on_picture() -> None:
        nonlocal done
        done += 1
        report('comparing all with all', done, total)

    pairs = propose(level, least, len(SYMMETRIES) if turned_crops else 1, on_picture)
    if not turned_crops:
        pairs += propose_turned(level, least)
    side, band, least = MIDDLE
    hits = _rescore(surfaces, pairs, side, band, ('looking closer', 16), report)
    pairs = [hit.pair for hit in hits if hit.score > least]
    side, band, least = FULL
    hits = _rescore(surfaces, pairs, side, band, ('verifying', 4), report)
    return best_symmetry(
        hit
        for hit in hits
        if hit.score > least and (hit.distinct > MIN_DISTINCT or hit.correlation > MOST_DETAIL)
    )


def _rescore(
    surfaces: _Surfaces,
    pairs: list[Pair],
    side: int,
    band: float,
    step: tuple[str, int],
    report: Report,
) -> Iterator[Hit]:
    """Score pairs at a level that is built for their pictures alone."""
    if not pairs:
        return
    name, batch = step
    involved = sorted({index for pair in pairs for index in pair[:2]})
    place = {index: number for number, index in enumerate(involved)}
    level = surfaces.level(side, band, involved)
    local = [Pair(place[pair.first], place[pair.second], pair.symmetry) for pair in pairs]
    for done, hit in enumerate(rescore(level, local, batch=batch), start=1):
        report(name, done, len(pairs))
        pair = Pair(involved[hit.pair.first], involved[hit.pair.second], hit.pair.symmetry)
        yield hit._replace(pair=pair)


def _identical(
    pictures: Sequence[Picture], pixels: Sequence[Pixels]
) -> dict[tuple[int, int], Shared]:
    """Pairs with the same pixels, whatever these show: flat pictures too."""
    same = defaultdict(list)
    for index, item in enumerate(pixels):
        same[item.digest].append(index)
    found = {}
    for members in same.values():
        for first, second in combinations(members, 2):
            equal = pixels[first].file_digest == pixels[second].file_digest
            score = math.sqrt(pixels[first].grey.size)
            found[first, second] = Shared(
                pictures[first],
                pictures[second],
                'identical file' if equal else 'identical pixels',
                SYMMETRIES[0],
                (0, 0),
                1.0,
                1.0,
                score,
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
    return tuple(here), tuple(there)
