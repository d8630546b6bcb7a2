"""A threshold for each class: which it is, and what all of them together give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .interval import Share, share_of
from .thresholds import Outcome, Wish, choose_threshold, outcome_of_alarms

__all__ = [
    'ByClass',
    'Chosen',
    'ClassOutcome',
    'ClassPoint',
    'Scored',
    'choose_by_class',
    'decide_by_class',
    'most_in_all',
]


@dataclass(frozen=True)
class Scored:
    """Images with what is known of them by class.

    Args:
        classes (tuple[str, ...]): Names of the C classes of defects.
        score (ndarray): Score of each image for each of them, (n, C).
        truth (ndarray): Whether it has a defect of the class, bool, (n, C).
        defective (ndarray): Whether it has any, bool, (n,).
        groups (ndarray): Name of its group, (n,).
    """

    classes: tuple[str, ...]
    score: np.ndarray
    truth: np.ndarray
    defective: np.ndarray
    groups: np.ndarray

    def raised(self, limits: Mapping[str, float]) -> np.ndarray:
        """Whether any class is above its own threshold, (n,) bool."""
        above: np.ndarray = self.score > np.array([limits[name] for name in self.classes])
        return np.any(above, axis=1)

    def outcome_of(self, limits: Mapping[str, float]) -> Outcome:
        """What the thresholds of all classes give together."""
        return outcome_of_alarms(self.raised(limits), self.defective, self.groups)


class Chosen(NamedTuple):
    """The threshold of a class.

    Args:
        threshold (float | None): A picture's score of the class *above* it raises an alarm; None
            where the images cannot tell.
        why (str): Then why not, in a sentence; else what is not known of it, or nothing.
    """

    threshold: float | None
    why: str = ''


@dataclass(frozen=True)
class ClassOutcome:
    """What the threshold of a class gives on some images.

    Args:
        recall (Share | None): Of the images with a defect of the class, those with an alarm for it;
            None without any.
        false_alarms (Share | None): Of the good images, those with an alarm for it.
        others (Share | None): Of the images with defects of other classes alone, those with an
            alarm for it.
    """

    recall: Share | None
    false_alarms: Share | None
    others: Share | None


@dataclass(frozen=True)
class ClassPoint:
    """The threshold of a class, and what it was chosen by.

    Args:
        name (str): Of the class.
        wish (Wish): What was asked for.
        threshold (float | None): See :class:`Chosen`.
        why (str): See :class:`Chosen`.
        validation (ClassOutcome): What it gives on the images that it was chosen on; of a class
            without one, what that of the rest gives.
        test (ClassOutcome | None): And on those that it was not.
    """

    name: str
    wish: Wish
    threshold: float | None
    why: str
    validation: ClassOutcome
    test: ClassOutcome | None = None


@dataclass(frozen=True)
class ByClass:
    """Thresholds of all classes: an image raises an alarm if any is above its own.

    Args:
        points (tuple[ClassPoint, ...]): One a class of defects.
        rest (float | None): By it count classes without a threshold: that of the highest score of
            any class. None where each has its own.
        validation (Outcome): What all together give on the images that they were chosen on.
        test (Outcome | None): And on those that they were not.
    """

    points: tuple[ClassPoint, ...]
    rest: float | None
    validation: Outcome
    test: Outcome | None = None

    @property
    def limits(self) -> dict[str, float]:
        """By class, the score above which it raises an alarm."""
        return limits_of({each.name: each.threshold for each in self.points}, self.rest)


def choose_by_class(scored: Scored, wishes: Mapping[str, Wish]) -> dict[str, Chosen]:
    """The threshold of each class by which a new image, drawn like these, meets its wish.

    For false alarms the good images tell, those without a defect of any class; for recall, those
    that have one of the class.

    Args:
        scored (Scored): The images.
        wishes (Mapping[str, Wish]): What is asked for, by name of the class.
    """
    found = {}
    for column, name in enumerate(scored.classes):
        wish, has = wishes[name], scored.truth[:, column]
        # The others are neither good nor of the class: their score says nothing of the wish.
        tells = ~scored.defective if wish.kind == 'good' else has
        try:
            threshold = choose_threshold(scored.score[tells, column], has[tells], wish)
        except ValueError as error:
            found[name] = Chosen(None, str(error))
            continue
        unknown = '' if has.any() else 'no validation image has one: what it finds is not known'
        found[name] = Chosen(threshold, unknown)
    return found


def choose_rest(scored: Scored, wish: Wish) -> float:
    """The threshold of classes without their own: that of the highest score of any class.

    Raises:
        ValueError: There are too few images to tell.
    """
    return choose_threshold(scored.score.max(1), scored.defective, wish)


def decide_by_class(splits: Mapping[str, Scored], wish: Wish, own: Mapping[str, Wish]) -> ByClass:
    """Thresholds of all classes, and what they give.

    Args:
        splits (Mapping[str, Scored]): The images of ``validation``, and of ``test`` if any.
        wish (Wish): What is asked for.
        own (Mapping[str, Wish]): Of classes with a wish of their own.

    Raises:
        ValueError: There are too few validation images to tell, of all classes together.
    """
    first = splits['validation']
    wishes = {name: own.get(name, wish) for name in first.classes}
    chosen = choose_by_class(first, wishes)
    lacks = any(each.threshold is None for each in chosen.values())
    rest = choose_rest(first, wish) if lacks else None
    limits = limits_of({name: each.threshold for name, each in chosen.items()}, rest)
    points = []
    for column, (name, each) in enumerate(chosen.items()):
        found = [
            class_outcome_of(splits[split], column, limits[name]) if split in splits else None
            for split in ('validation', 'test')
        ]
        points.append(ClassPoint(name, wishes[name], *each, *found))  # type: ignore[arg-type]
    together = [
        splits[split].outcome_of(limits) if split in splits else None
        for split in ('validation', 'test')
    ]
    return ByClass(tuple(points), rest, *together)  # type: ignore[arg-type]


def limits_of(thresholds: Mapping[str, float | None], rest: float | None) -> dict[str, float]:
    """By class, the score above which it raises an alarm.

    Args:
        thresholds (Mapping[str, float | None]): By class; None for those without their own.
        rest (float | None): What those count by.
    """
    return {
        name: math.inf if limit is None else limit
        for name, own in thresholds.items()
        for limit in [rest if own is None else own]
    }


def class_outcome_of(scored: Scored, column: int, limit: float) -> ClassOutcome:
    """What the threshold of a class gives.

    Args:
        scored (Scored): The images.
        column (int): The class.
        limit (float): Scores above it raise an alarm.
    """
    alarm, has = scored.score[:, column] > limit, scored.truth[:, column]
    kinds = has, ~scored.defective, scored.defective & ~has
    return ClassOutcome(*(share_of(alarm[kind], scored.groups[kind]) for kind in kinds))


def most_in_all(found: ByClass, wish: Wish) -> float:
    """How many good images may raise an alarm, if no two classes ever do so in one: a share.

    Args:
        found (ByClass): The thresholds; wishes are about false alarms.
        wish (Wish): What those without a threshold of their own keep together.
    """
    shares = [each.wish.share for each in found.points if each.threshold is not None]
    shares += [] if found.rest is None else [wish.share]
    return min(1.0, sum(shares))
