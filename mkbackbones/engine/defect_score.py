"""How sure a model is that a picture has a defect: one definition for predictions and studies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

__all__ = [
    'class_probabilities',
    'has_background',
    'largest_by_class',
    'largest_by_label',
    'largest_probability',
    'largest_score',
]


def has_background(classes: Sequence[str]) -> bool:
    """Whether class 0 of a segmentor is a surface without defects."""
    return bool(classes) and classes[0] == 'background'


def largest_score(scores: Iterable[float]) -> float:
    """Defect score of a picture with these instances: the largest score, 0 without any."""
    return max(map(float, scores), default=0.0)


def class_probabilities(logits: Tensor) -> Tensor:
    """Probability of each class at each pixel, (C, H, W), of a segmentor with C classes.

    Args:
        logits (Tensor): ``seg_logits`` of a sample, (C, H, W), or (1, H, W) of a segmentor with one
            output for two classes, which mmseg has put through its sigmoid.
    """
    logits = logits.float()
    if len(logits) == 1:
        return torch.cat([1 - logits, logits])
    return logits.softmax(0)


def largest_probability(probabilities: Tensor, classes: Sequence[str]) -> float:
    """Highest probability of a defect at any pixel; 1 where no class means 'no defect'.

    Args:
        probabilities (Tensor): From :func:`class_probabilities`.
        classes (Sequence[str]): Names of the classes.
    """
    return float(1 - probabilities[0].min()) if has_background(classes) else 1.0


def largest_by_label(labels: Iterable[int], scores: Iterable[float], number: int) -> list[float]:
    """Largest score of an instance of each of so many classes, 0 without any."""
    found = [0.0] * number
    for label, score in zip(labels, scores):
        found[int(label)] = max(found[int(label)], float(score))
    return found


def largest_by_class(probabilities: Tensor) -> list[float]:
    """Highest probability of each class at any pixel.

    Args:
        probabilities (Tensor): From :func:`class_probabilities`.
    """
    return probabilities.amax((1, 2)).tolist()
