"""The score that a new image exceeds with at most some probability."""

from __future__ import annotations

import math

import numpy as np

__all__ = ['exceeded_in', 'fallen_short_in']


def exceeded_in(scores: np.ndarray, share: float) -> float | None:
    """A score that a new one, drawn like these, exceeds in at most a share of all cases.

    The j-th highest of v scores is exceeded by a new one with the probability ``j / (v + 1)``: it
    is the largest j for which that is at most ``share``.

    Args:
        scores (ndarray): The scores, (v,).
        share (float): Above 0 and below 1.

    Returns:
        float | None: None with fewer than ``1 / share - 1`` scores.
    """
    # 1 - 0.9 is a little less than 0.1.
    rank = min(math.floor((len(scores) + 1) * share * (1 + 1e-9)), len(scores))
    return float(np.sort(scores)[-rank]) if rank else None


def fallen_short_in(scores: np.ndarray, share: float) -> float | None:
    """A threshold that a new score, drawn like these, is not above in at most a share of all cases.

    It is the number next to the j-th lowest score, from below (of those that float32 has, as
    networks do), so that an image of exactly that score is above it: scores of 1 are no rarity.

    Args:
        scores (ndarray): The scores, (v,).
        share (float): Above 0 and below 1.

    Returns:
        float | None: None with fewer than ``1 / share - 1`` scores.
    """
    lowest = exceeded_in(-np.asarray(scores, float), share)
    if lowest is None:
        return None
    return float(np.nextafter(np.float32(-lowest), np.float32(-np.inf)))
