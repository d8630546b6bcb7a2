"""Which test images a report shows, by rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..evidence import Evidence
from ..worker.collect import DRAWN_SCORE

__all__ = ['NUM_EXAMPLES', 'RULE', 'Choice', 'choose', 'most_of']

NUM_EXAMPLES = 2
RULE = (
    'Of all test images, those where the score of the single image rises most against the baseline '
    f'in at least half of the seeds ({NUM_EXAMPLES} images at most), and those where it falls most '
    'in at least half of them (as many); with folds, of the seeds that tested the image; one image '
    'a group. Shown is the seed whose difference is '
    'the middle one. The score of an image is: in detection its AP, or without defects 1 less its '
    'highest score; in segmentation its mean IoU; in classification the probability of the true '
    f'class. Boxes with a score below {DRAWN_SCORE} are not drawn.'
)


@dataclass
class Choice:
    """An image to show.

    Args:
        image (str): Its name in the evidence.
        seed (int): The seed to show.
        baseline (float): Score of the baseline with that seed, from 0 to 1.
        arm (float): Score of the arm with that seed.
    """

    image: str
    seed: int
    baseline: float
    arm: float

    @property
    def difference(self) -> float:
        """What at least half of the seeds reach or exceed."""
        return self.arm - self.baseline


def choose(
    scores: dict[tuple[str, int], np.ndarray],
    test: Evidence,
    baseline: str,
    arm: str,
    count: int = NUM_EXAMPLES,
) -> list[Choice]:
    """Images where an arm is better than the baseline, then images where it is worse.

    Args:
        scores (dict[tuple[str, int], ndarray]): Score of each image, by arm and seed, (n,).
        test (Evidence): Names and groups of the images.
        baseline (str): Key of the baseline.
        arm (str): Key of the arm.
        count (int): How many of each kind, at most.
    """
    seeds = sorted(s for a, s in scores if a == arm and (baseline, s) in scores)
    if not seeds:
        return []
    theirs, ours = (
        np.stack([np.nan_to_num(scores[key, seed]) for seed in seeds]) for key in (baseline, arm)
    )
    by_seed = ours - theirs
    ranks = by_seed.argsort(0, kind='stable')
    chosen = []
    taken: set[str] = set()
    # Half of the seeds rise at least as much as the lower median, or fall as much as the upper.
    for sign, rank in ((1, ranks[(len(seeds) - 1) // 2]), (-1, ranks[len(seeds) // 2])):
        typical = sign * np.take_along_axis(by_seed, rank[None], 0)[0]
        found = 0
        for i in np.argsort(-typical, kind='stable'):
            if found == count or typical[i] <= 0:
                break
            if test.groups[i] in taken:
                continue
            taken.add(test.groups[i])
            found += 1
            shown = rank[i]
            pair = float(theirs[shown, i]), float(ours[shown, i])
            chosen.append(Choice(test.images[i], seeds[shown], *pair))
    return chosen


def most_of(choices: list[Choice], count: int = NUM_EXAMPLES) -> list[Choice]:
    """Of what was chosen in several folds, what differs most in either direction.

    Args:
        choices (list[Choice]): Of all folds.
        count (int): How many of each direction, at most.
    """
    better = sorted((c for c in choices if c.difference > 0), key=lambda c: -c.difference)
    worse = sorted((c for c in choices if c.difference <= 0), key=lambda c: c.difference)
    return better[:count] + worse[:count]
