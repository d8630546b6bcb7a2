"""What is found in a picture: typed, and small enough to keep for thousands of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import masks

__all__ = ['Instance', 'Prediction']


@dataclass(frozen=True)
class Instance:
    """One object; of a class map, all pixels of one class.

    Args:
        label (int): Index of the class.
        name (str): Name of the class.
        score (float): From 0 to 1; of a class map, the highest probability of the class among its
            pixels.
        box (tuple[float, float, float, float]): Left, top, width and height in pixels.
        mask (dict | None): Pixels as COCO's run-length code, ``dict(size=[height, width],
            counts=...)``; None where the model gives boxes alone.
    """

    label: int
    name: str
    score: float
    box: tuple[float, float, float, float]
    mask: dict[str, Any] | None = None

    @property
    def area(self) -> float:
        """Pixels of the mask, or of the box where there is none."""
        return self.box[2] * self.box[3] if self.mask is None else masks.area(self.mask)

    def bitmap(self) -> np.ndarray | None:
        """The mask as (height, width) bool of the whole picture; None where there is none."""
        return None if self.mask is None else masks.decode(self.mask)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return dict(
            label=self.label, name=self.name, score=self.score, box=list(self.box), mask=self.mask
        )


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one picture.

    Args:
        path (str | None): The file; None for a picture that was given as an array.
        width (int): Of the picture, in pixels.
        height (int): Of the picture, in pixels.
        score (float): How sure the model is that there is a defect, from 0 to 1, as in the evidence
            of a study: the largest score of an instance; of a class map with a class
            ``background``, the largest probability of a defect at any pixel, and 1 where no class
            means 'no defect'.
        instances (tuple[Instance, ...]): Objects, or the classes of the class map other than
            ``background``.
        class_map (np.ndarray | None): Class index of each pixel, (height, width) uint8, or uint16
            from 257 classes on; None unless the model is a segmentor.
        class_scores (tuple[float, ...]): The same for each class, in their order: the largest score
            of an instance of it, or its largest probability at any pixel.
    """

    path: str | None
    width: int
    height: int
    score: float
    instances: tuple[Instance, ...] = ()
    class_map: np.ndarray | None = None
    class_scores: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain values, without the class map, whose pixels the masks of the instances have."""
        return dict(
            path=self.path,
            width=self.width,
            height=self.height,
            score=self.score,
            instances=[instance.to_json() for instance in self.instances],
            class_scores=list(self.class_scores),
        )

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Prediction:
        """The inverse of :meth:`to_json`."""
        instances = tuple(
            Instance(**{**entry, 'box': tuple(entry['box'])}) for entry in content['instances']
        )
        # Records of former releases have no scores of classes.
        scores = tuple(content.get('class_scores', ()))
        return cls(**{**content, 'instances': instances, 'class_scores': scores})
