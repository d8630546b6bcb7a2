"""Objects that several windows have seen, made one.

Two finds of neighbouring windows are compared where both windows look: a scratch across a seam is
cut in both, and its halves agree there, however little of the whole that is. Finds that agree are
one object with the higher score and all that either has of it. So that what a detector doubts does
not grow into what it is sure of, each find has at most one partner in a window, the best by score,
and none whose score is below a third of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from . import masks
from .results import Instance
from .tiles import Window

__all__ = ['merge']

#: Share of the smaller find, within what both windows see, from which on two are one object.
_SAME = 0.5
#: Share of the higher score from which on the lower one is of the same object.
_AS_SURE = 1 / 3
#: Intersection over union there, from which on a find without a partner repeats another.
_REPEATED = 0.5

Find = tuple[int, int]
"""Window, and number of the find in it."""


@dataclass(frozen=True)
class Pair:
    """Two finds of one class in two windows that agree."""

    one: Find
    other: Find
    surer: float
    doubtful: float
    iou: float


def merge(windows: Sequence[Window], found: Sequence[Sequence[Instance]]) -> list[Instance]:
    """Objects of a picture from those of its windows.

    Args:
        windows (Sequence[Window]): The windows.
        found (Sequence[Sequence[Instance]]): What was found in each, in pixels of the picture.

    Returns:
        list[Instance]: By score, highest first.
    """
    pairs = [
        pair
        for a, b in combinations(range(len(windows)), 2)
        if (region := windows[a].shared(windows[b])) is not None
        for pair in agreeing(region, a, found[a], b, found[b])
    ]
    pairs.sort(key=lambda pair: (-pair.doubtful, -pair.surer, -pair.iou, pair.one, pair.other))
    finds = [(w, i) for w, instances in enumerate(found) for i in range(len(instances))]
    groups = {find: [find] for find in finds}
    for pair in pairs:
        one, other = groups[pair.one], groups[pair.other]
        scores = sorted(max(found[w][i].score for w, i in group) for group in (one, other))
        once = one is not other and not {w for w, _ in one} & {w for w, _ in other}
        if once and scores[0] >= _AS_SURE * scores[1]:
            one += other
            for find in other:
                groups[find] = one
    repeated = set()
    for pair in pairs:
        if groups[pair.one] is not groups[pair.other] and pair.iou >= _REPEATED:
            lower = min(pair.one, pair.other, key=lambda find: found[find[0]][find[1]].score)
            if len(groups[lower]) == 1:
                repeated.add(lower)
    whole = {id(group): group for find, group in groups.items() if find not in repeated}
    joined = [join([found[w][i] for w, i in group]) for group in whole.values()]
    return sorted(joined, key=lambda instance: -instance.score)


def agreeing(
    region: tuple[int, int, int, int],
    a: int,
    ones: Sequence[Instance],
    b: int,
    others: Sequence[Instance],
) -> list[Pair]:
    """Pairs of two windows whose parts in ``region`` (left, top, right, bottom) agree."""
    mine, yours = clipped(ones, region), clipped(others, region)
    low = np.maximum(mine[:, None, :2], yours[None, :, :2])
    high = np.minimum(mine[:, None, 2:], yours[None, :, 2:])
    touching = (high > low).all(2)
    # The mask of the region is made once, if at all.
    inside: list[masks.Code] = []

    def part(code: masks.Code) -> masks.Code:
        inside.extend([] if inside else [masks.rectangle(region, code['size'])])
        return masks.shared(code, inside[0])

    pairs = []
    for i, j in np.argwhere(touching):
        one, other = ones[i], others[j]
        if one.label != other.label:
            continue
        if one.mask is not None and other.mask is not None:
            parts = part(one.mask), part(other.mask)
            both = masks.area(masks.shared(*parts))
            areas = masks.area(parts[0]), masks.area(parts[1])
        else:
            both = float(np.prod(high[i, j] - low[i, j]))
            areas = float(sides(mine[i]).prod()), float(sides(yours[j]).prod())
        if both and both >= _SAME * min(areas):
            scores = sorted((one.score, other.score))
            iou = both / (sum(areas) - both)
            pairs.append(Pair((a, int(i)), (b, int(j)), scores[1], scores[0], iou))
    return pairs


def clipped(instances: Sequence[Instance], region: tuple[int, int, int, int]) -> np.ndarray:
    """Left, top, right and bottom of boxes cut to a region, (n, 4)."""
    boxes = np.array([instance.box for instance in instances], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    low, high = np.array(region[:2] * 2, float), np.array(region[2:] * 2, float)
    return np.clip(boxes, low, high)


def sides(box: np.ndarray) -> np.ndarray:
    """Width and height of left, top, right and bottom."""
    return box[2:] - box[:2]


def join(parts: Sequence[Instance]) -> Instance:
    """One object from what windows have of it."""
    best = max(parts, key=lambda part: part.score)
    if len(parts) == 1:
        return best
    lefts, tops, widths, heights = zip(*(part.box for part in parts))
    left, top = min(lefts), min(tops)
    right = max(x + width for x, width in zip(lefts, widths))
    bottom = max(y + height for y, height in zip(tops, heights))
    codes = [part.mask for part in parts if part.mask is not None]
    return replace(
        best,
        box=(left, top, right - left, bottom - top),
        mask=masks.joined(codes) if codes else None,
    )
