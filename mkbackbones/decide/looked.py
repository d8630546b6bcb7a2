"""Images of a split, as a threshold looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .by_class import Scored

__all__ = ['Looked', 'Marks']

Box = tuple[float, float, float, float]


class Marks(NamedTuple):
    """Where to look in an image.

    Args:
        truth (list[Box]): Boxes of its defects: left, top, right and bottom in pixels.
        found (list[tuple[Box, str, float]]): What the model has found, with class and score.
    """

    truth: list[Box]
    found: list[tuple[Box, str, float]]


class Looked:
    """Images of a split, as a threshold looks at them.

    Args:
        score (ndarray): Score of each image, (n,).
        defective (ndarray): Whether it has a defect, bool, (n,).
        groups (Sequence[str]): Name of its group, (n,).
        paths (Sequence[Path]): Its file.
        classes (Sequence[str]): Names of the C classes of defects.
        class_score (ndarray, optional): Score of each image for each of them, (n, C).
        truth (ndarray, optional): Whether it has a defect of the class, bool, (n, C).
        marks (Sequence[Marks]): Where its defects are; none where it is not known.
    """

    def __init__(
        self,
        score: np.ndarray,
        defective: np.ndarray,
        groups: Sequence[str],
        paths: Sequence[Path],
        classes: Sequence[str] = (),
        class_score: np.ndarray | None = None,
        truth: np.ndarray | None = None,
        marks: Sequence[Marks] = (),
    ) -> None:
        self.score = np.asarray(score, float)
        self.defective = np.asarray(defective, bool)
        self.groups = np.asarray(groups)
        self.paths = list(paths)
        none = np.zeros((len(self.score), 0))
        self.scored = Scored(
            tuple(classes),
            none if class_score is None else np.asarray(class_score, float),
            none.astype(bool) if truth is None else np.asarray(truth, bool),
            self.defective,
            self.groups,
        )
        self.marks = list(marks) or [Marks([], []) for _ in self.paths]

    def wrong(self, alarm: np.ndarray) -> dict[str, list[int]]:
        """Images that are missed and that raise a false alarm, the clearest first.

        Args:
            alarm (ndarray): Whether each image raises one, bool, (n,).
        """
        order = np.argsort(self.score, kind='stable').tolist()
        return {
            'Missed': [i for i in order if self.defective[i] and not alarm[i]],
            'False alarms': [i for i in order[::-1] if not self.defective[i] and alarm[i]],
        }
