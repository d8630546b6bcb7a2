"""Exact intervals for the share of images, where images of a group resemble each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

__all__ = ['Share', 'share_of']


class Share(NamedTuple):
    """A share of images with its interval, all from 0 to 1.

    Args:
        hits (int): Images that count.
        images (int): All of them.
        groups (int): How many groups they are of.
        value (float): ``hits / images``.
        low (float): Lower end of the interval.
        high (float): Upper end.
    """

    hits: int
    images: int
    groups: int
    value: float
    low: float
    high: float


def share_of(hit: np.ndarray, groups: np.ndarray, level: float = 0.95) -> Share | None:
    """The share of images that are hit, with a Clopper-Pearson interval for groups.

    Images of one group are seen together: six exposures of one tile are not six tiles. As Korn and
    Graubard do (Survey Methodology 24, 1998), the interval of Clopper and Pearson is that of as
    many independent images as have the variance of the share, from the variance between groups and
    never more than there are; where all or none are hit, which tells nothing of a variance, of as
    many as there are groups, if they were of one size. Simulated coverage: docs/statistics.md.

    Args:
        hit (ndarray): Whether each image is, bool, (n,).
        groups (ndarray): Name of the group of each image, (n,).
        level (float): Coverage, from 0 to 1.

    Returns:
        Share | None: None without an image.
    """
    images = len(hit)
    if not images:
        return None
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    group = group.reshape(-1)
    count = int(group.max()) + 1
    hits = int(np.sum(hit))
    value = hits / images
    effective = effective_images(np.asarray(hit, float), group, count, value, level)
    number = value * effective
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(stats.beta.ppf(tail, number, effective - number + 1))
    high = (
        1.0 if hits == images else float(stats.beta.ppf(1 - tail, number + 1, effective - number))
    )
    return Share(hits, images, count, value, low, high)


def effective_images(
    hit: np.ndarray, group: np.ndarray, count: int, value: float, level: float
) -> float:
    """How many independent images tell as much about a share.

    The variance is unbiased for groups of any sizes, and its degrees of freedom are those of the
    jackknife of studies (docs/statistics.md): a few large groups count as few.
    """
    images = len(hit)
    size = np.bincount(group, minlength=count) / images
    squares = float((size**2).sum())
    alike = 1 / squares  # as many groups of one size
    if value in (0, 1) or alike < 1.5:
        return alike
    distance = np.bincount(group, hit - value, count) / images  # size times (mean - value)
    variance = float((distance**2 / (1 - 2 * size + squares)).sum())
    if variance <= 0:
        return float(images)
    effective = value * (1 - value) / variance
    by_groups = squares**2 / float((size**4).sum())
    freedom = min(alike - 1, np.sqrt((alike - 1) * by_groups))
    quantile = (1 + level) / 2
    narrower = stats.t.ppf(quantile, images - 1) / stats.t.ppf(quantile, freedom)
    return float(np.clip(effective * narrower**2, 1.0, images))
