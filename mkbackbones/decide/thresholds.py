"""A wish, the threshold that meets it on validation images, and what that gives on any."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .interval import Share, share_of
from .ranks import exceeded_in, fallen_short_in

__all__ = ['Outcome', 'Wish', 'choose_threshold', 'outcome_of', 'outcome_of_alarms', 'trade_off']

#: How far a threshold keeps from a score, where there is room: what an exported file may differ by.
APART = 1e-3


@dataclass(frozen=True)
class Wish:
    """What is asked of an inspection; one of the two.

    Args:
        max_false_alarms (float, optional): Share of the good images that may raise an alarm, above
            0 and below 1; 0.005 for 5 in 1,000 good parts.
        min_recall (float, optional): Share of the defective images that have to, above 0 and below
            1.

    Raises:
        ValueError: None or both are given, or one is out of range.
    """

    max_false_alarms: float | None = None
    min_recall: float | None = None

    def __post_init__(self) -> None:
        given = {n: v for n, v in asdict(self).items() if v is not None}
        if len(given) != 1:
            raise ValueError('a wish is one of max_false_alarms and min_recall')
        (name, value) = next(iter(given.items()))
        if not 0 < value < 1:
            raise ValueError(f'{name}={value} is not allowed; it must be above 0 and below 1')

    @property
    def kind(self) -> str:
        """The images that tell: good ones of false alarms, defective ones of recall."""
        return 'good' if self.max_false_alarms is not None else 'defective'

    @property
    def share(self) -> float:
        """Of those, how many may be on the wrong side."""
        if self.max_false_alarms is not None:
            return self.max_false_alarms
        return 1 - (self.min_recall or 0)

    @property
    def fewest(self) -> int:
        """How many of them it takes to tell."""
        return math.ceil(1 / self.share * (1 - 1e-9)) - 1

    def check_number(self, number: int, of_class: str | None = None, at_most: bool = False) -> None:
        """Raise ValueError if so many validation images of the kind cannot tell.

        Args:
            number (int): How many there are.
            of_class (str | None): The class that a wish for recall is about; None for all.
            at_most (bool): Whether there may be fewer: it is not known which are of the kind.
        """
        if number < self.fewest:
            if at_most:
                raise ValueError(
                    f'{number} validation images, good and defective ones, cannot tell that '
                    f'{self}: it takes at least {self.fewest} {self.kind} ones'
                )
            could = ''
            if number > 1:
                least = math.ceil(1000 / (number + 1)) / 1000
                could = f', or a wish of {least if self.kind == "good" else 1 - least:.3f}'
            images = f'{number} {self.kind} validation images'
            told = str(self)
            if of_class is not None and self.kind == 'defective':
                images = f'{number} validation images with {of_class}'
                told = f'at least {self.min_recall:.2%} of such raise an alarm'
            raise ValueError(
                f'{images} cannot tell that {told}: it takes at least {self.fewest} of them{could}'
            )

    def __str__(self) -> str:
        if self.max_false_alarms is not None:
            return f'at most {self.max_false_alarms:.2%} of the good images raise an alarm'
        return f'at least {self.min_recall:.2%} of the defective images raise an alarm'


@dataclass(frozen=True)
class Outcome:
    """What a threshold gives on some images.

    Args:
        recall (Share | None): Of the defective images, those with an alarm; None without any.
        false_alarms (Share | None): Of the good images, those with one; None without any.
    """

    recall: Share | None
    false_alarms: Share | None


def choose_threshold(
    score: np.ndarray, defective: np.ndarray, wish: Wish, of_class: str | None = None
) -> float:
    """The threshold by which a new image, drawn like these, meets a wish.

    For false alarms, the score that a new good image exceeds seldom enough (:func:`exceeded_in`);
    for recall, the one that a new defective image is not above seldom enough
    (:func:`fallen_short_in`). Either is the score of an image, whose alarm would hang on the last
    digit: see :func:`set_apart`.

    Args:
        score (ndarray): Score of each image, (n,); 0 where nothing is found.
        defective (ndarray): Whether it has a defect, bool, (n,).
        wish (Wish): What is asked for.
        of_class (str | None): The class that it is about, for messages; None for all.

    Raises:
        ValueError: There are too few images to tell, or in too many of them nothing is found.
    """
    is_good = wish.kind == 'good'
    scores = score[~defective] if is_good else score[defective]
    wish.check_number(len(scores), of_class)
    found: Any = (exceeded_in if is_good else fallen_short_in)(scores, wish.share)
    if not is_good and found < 0:  # not even a score of 0 may be missed
        raise ValueError(
            f'no threshold gives that {wish}: in {int((scores <= 0).sum())} of the {len(scores)} '
            'validation images nothing is found at all'
        )
    return set_apart(found, score)


def set_apart(threshold: float, score: np.ndarray) -> float:
    """A threshold with the same alarms, away from the scores on either side of it.

    An exported file, a larger batch or another card gives a score another last digit. So the
    threshold lies in the middle between its neighbours, :data:`APART` at most from the one that it
    was chosen by: the others may be far.

    Args:
        threshold (float): What scores have to exceed: one of them, or next to one from below.
        score (ndarray): The scores, (n,), 0 to 1.
    """
    below = max(score[score <= threshold], default=0.0)
    above = min(score[score > threshold], default=1.0)
    if not below < above:
        return threshold
    middle = (float(below) + float(above)) / 2
    by_below = threshold - below <= above - threshold
    return min(middle, below + APART) if by_below else max(middle, above - APART)


def outcome_of(
    score: np.ndarray, defective: np.ndarray, groups: np.ndarray, threshold: float
) -> Outcome:
    """What a threshold gives.

    Args:
        score (ndarray): Score of each image, (n,).
        defective (ndarray): Whether it has a defect, bool, (n,).
        groups (ndarray): Name of its group, (n,).
        threshold (float): Scores above it raise an alarm.
    """
    return outcome_of_alarms(score > threshold, defective, groups)


def outcome_of_alarms(alarm: np.ndarray, defective: np.ndarray, groups: np.ndarray) -> Outcome:
    """What alarms are worth, whatever raises them.

    Args:
        alarm (ndarray): Whether each image raises one, bool, (n,).
        defective (ndarray): Whether it has a defect, bool, (n,).
        groups (ndarray): Name of its group, (n,).
    """
    return Outcome(
        recall=share_of(alarm[defective], groups[defective]),
        false_alarms=share_of(alarm[~defective], groups[~defective]),
    )


def trade_off(score: np.ndarray, defective: np.ndarray) -> tuple[np.ndarray, ...]:
    """Recall against false alarms, for every threshold that makes a difference.

    Returns:
        tuple: Thresholds, rising; share of the good images above each; share of the defective ones.
    """
    thresholds = np.concatenate([[-np.inf], np.unique(score)])
    good, bad = np.sort(score[~defective]), np.sort(score[defective])
    shares = [
        1 - np.searchsorted(each, thresholds, 'right') / max(len(each), 1) for each in (good, bad)
    ]
    return thresholds, shares[0], shares[1]
