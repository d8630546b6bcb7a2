"""Boxes that differ between two runs of one network because two scores are the same.

Suppression keeps the first of two boxes that overlap. Where their scores are equal but for
rounding, rounding decides which one that is: the other one goes, and what it would have suppressed
stays. Both results are right.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ['Boxes', 'iou', 'told_by_ties']

#: Scores that differ by no more are equal.
EQUAL = 1e-5
#: Boxes that overlap less do not suppress each other, whatever the network's threshold.
OVERLAP = 0.3
#: Of one score and nearer than this, they are one box that was computed in two ways.
ONE_BOX = 0.9
#: Corners this close, in pixels, are the same: the IoU of a sliver says little.
CLOSE = 0.02


class Boxes(NamedTuple):
    """Some boxes: corners (N, 4), scores (N,) and labels (N,)."""

    corners: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def pick(self, which: np.ndarray) -> Boxes:
        """Some of them."""
        return Boxes(*(each[which] for each in self))


def told_by_ties(one: Boxes, other: Boxes) -> tuple[np.ndarray, np.ndarray]:
    """Which boxes without a counterpart are there, or are gone, because of equal scores.

    Args:
        one (Boxes): Boxes of one run that the other has not.
        other (Boxes): Boxes of the other run that the first has not.

    Returns:
        tuple[np.ndarray, np.ndarray]: Bools (N,) for both. True for two boxes of one class and
        score, one of each run, that overlap; and for boxes that such a box may suppress.
    """
    shape = len(one.corners), len(other.corners)
    overlap = np.array([iou(box, other.corners) for box in one.corners]).reshape(shape)
    equal = np.abs(one.scores[:, None] - other.scores) <= EQUAL
    near = (overlap >= OVERLAP) & (overlap < ONE_BOX)
    tied = near & equal & (one.labels[:, None] == other.labels)
    mine, theirs = tied.any(1), tied.any(0)
    first = Boxes(*map(np.concatenate, zip(one.pick(mine), other.pick(theirs))))
    return mine | suppressed_by(first, one), theirs | suppressed_by(first, other)


def suppressed_by(first: Boxes, boxes: Boxes) -> np.ndarray:
    """Which boxes (N,) may go where some others come first."""
    return np.array(
        [
            bool(
                (
                    (iou(corners, first.corners) >= OVERLAP)
                    & (first.labels == label)
                    & (first.scores >= score)
                ).any()
            )
            for corners, score, label in zip(*boxes)
        ],
        bool,
    )


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Overlap of a box (4,) with others (N, 4): 1 where all corners are as good as the same."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    both = (high - low).clip(0).prod(1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - both
    found = np.divide(both, union, out=np.zeros(len(boxes)), where=union > 0)
    return np.where(np.abs(box - boxes).max(1) <= CLOSE, 1.0, found)
