"""Evidence of a classifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import Evidence, check_classes, ratio

__all__ = ['ClassificationEvidence']


@dataclass(eq=False)
class ClassificationEvidence(Evidence):
    """Labels and class probabilities of n images.

    ``top1``, and ``top5`` where there are more than five classes, are shares of the images. Among
    equal probabilities the class with the lower index comes first.

    Args:
        images (list[str]): See :class:`Evidence`.
        groups (list[str]): See :class:`Evidence`.
        labels (ndarray): True class of each image, (n,), integers.
        scores (ndarray): Probability of each class, (n, C).
    """

    per_image = ('labels', 'scores')

    labels: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        self.labels = np.asarray(self.labels, dtype=np.int64)
        num_classes = np.asarray(self.scores).shape[1]
        outside = (self.labels < 0) | (self.labels >= num_classes)
        if outside.any():
            raise ValueError(f'label {self.labels[outside][0]} outside 0 to {num_classes - 1}')

    def resampled(self, classes: list[str], weights: np.ndarray) -> dict[str, np.ndarray]:
        num_classes = self.scores.shape[1]
        check_classes(classes, num_classes)
        truth = np.take_along_axis(self.scores, self.labels[:, None], 1)
        before = np.arange(num_classes) < self.labels[:, None]
        rank = ((self.scores > truth) | ((self.scores == truth) & before)).sum(1)
        total = weights.sum(1)
        values = {'top1': ratio(weights @ (rank < 1), total)}
        if num_classes > 5:
            values['top5'] = ratio(weights @ (rank < 5), total)
        return values

    def image_weights(self, classes: list[str]) -> dict[str, np.ndarray]:
        once = np.ones((len(self.images), 1))
        return {'top1': once, 'top5': once}

    def per_image_score(self) -> np.ndarray:
        """Probability of the true class, (n,)."""
        return np.take_along_axis(self.scores, self.labels[:, None], 1)[:, 0]
