"""Splits that keep groups together and give every split its share of every class.

Greedy iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011), with groups in place of
single images: the rarest class is dealt first, its largest groups first, each to the split that
lacks most of the class.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

__all__ = ['stratify']


def stratify(
    labels: Sequence[frozenset[int]],
    groups: Sequence[Hashable],
    ratios: Sequence[float],
    seed: int,
) -> list[int]:
    """Deal images to splits.

    Args:
        labels (Sequence[frozenset[int]]): Classes in each image; an image without any counts as
            one of a class of its own, so that splits share the defect-free images too.
        groups (Sequence[Hashable]): Group of each image; images of a group stay together.
        ratios (Sequence[float]): Share of the images for each split, training first; they sum to
            1. A split with 0 stays empty.
        seed (int): Decides between equals.

    Returns:
        list[int]: Index into ``ratios`` for each image. Where the groups allow it, no wanted split
        is empty and training has every class.
    """
    units = list(dict.fromkeys(groups))
    if not units:
        return []
    counts, sizes = _count(labels, groups, units)
    rng = np.random.default_rng(seed)
    side = _deal(counts, sizes, np.asarray(ratios, float), rng)
    wanted = [index for index, ratio in enumerate(ratios) if ratio > 0]
    if wanted[0] == 0:
        _cover(side, counts, sizes)
    _fill(side, counts, sizes, wanted)
    index = {unit: number for number, unit in enumerate(units)}
    return [int(side[index[group]]) for group in groups]


def _count(
    labels: Sequence[frozenset[int]], groups: Sequence[Hashable], units: Sequence[Hashable]
) -> tuple[np.ndarray, np.ndarray]:
    """Images with each class in each group, (groups, classes), and images in each group."""
    names = sorted(set().union(*labels))
    column = {name: number for number, name in enumerate(names)}
    row = {unit: number for number, unit in enumerate(units)}
    counts = np.zeros((len(units), len(names) + 1), int)
    sizes = np.zeros(len(units), int)
    for present, group in zip(labels, groups):
        sizes[row[group]] += 1
        for place in [column[name] for name in present] or [len(names)]:
            counts[row[group], place] += 1
    return counts, sizes


def _deal(
    counts: np.ndarray, sizes: np.ndarray, ratios: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    side = np.full(len(sizes), -1)
    shuffled = rng.permutation(len(sizes))
    lack_class = np.outer(ratios, counts.sum(axis=0))
    lack_total = ratios * sizes.sum()
    closed = np.where(ratios > 0, 0, -np.inf)
    while (pending := side < 0).any():
        left = counts[pending].sum(axis=0)
        rarest = int(np.argmin(np.where(left > 0, left, np.iinfo(int).max)))
        members = shuffled[pending[shuffled] & (counts[shuffled, rarest] > 0)]
        for unit in members[np.argsort(-counts[members, rarest], kind='stable')]:
            keys = np.stack([rng.random(len(ratios)), lack_total, lack_class[:, rarest] + closed])
            target = int(np.lexsort(np.round(keys, 9))[-1])
            side[unit] = target
            lack_class[target] -= counts[unit]
            lack_total[target] -= sizes[unit]
    return side


def _cover(side: np.ndarray, counts: np.ndarray, sizes: np.ndarray) -> None:
    """Move the smallest group of a class that training lacks into training."""
    # The last column are the defect-free images, which training can do without.
    for column in np.flatnonzero(counts[side == 0, :-1].sum(axis=0) == 0):
        if not counts[side == 0, column].any():
            having = np.flatnonzero(counts[:, column])
            side[having[np.argmin(sizes[having])]] = 0


def _fill(side: np.ndarray, counts: np.ndarray, sizes: np.ndarray, wanted: list[int]) -> None:
    """Give an empty split the smallest group that its present split can spare."""
    for target in wanted:
        if (side == target).any():
            continue
        spare = [unit for unit in range(len(side)) if _can_spare(unit, side, counts)]
        if spare:
            side[min(spare, key=lambda unit: sizes[unit])] = target


def _can_spare(unit: int, side: np.ndarray, counts: np.ndarray) -> bool:
    others = side == side[unit]
    others[unit] = False
    if not others.any():
        return False
    return side[unit] != 0 or bool((counts[others].any(axis=0) | (counts[unit] == 0))[:-1].all())
