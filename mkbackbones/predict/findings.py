"""From the samples that a model gives back, window by window, to the prediction of a picture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.defect_score import (
    class_probabilities,
    has_background,
    largest_by_class,
    largest_by_label,
    largest_probability,
    largest_score,
)
from ..runner.errors import InputError
from . import masks
from .merging import merge
from .results import Instance, Prediction
from .tiles import Window

if TYPE_CHECKING:
    from .model import Kind

__all__ = ['Findings', 'findings_of']


class Findings(ABC):
    """What the windows of one picture have shown so far.

    Args:
        path (str | None): The file.
        width (int): Of the picture in pixels.
        height (int): Of the picture in pixels.
        classes (Sequence[str]): Names of the classes.
    """

    def __init__(self, path: str | None, width: int, height: int, classes: Sequence[str]) -> None:
        self.path, self.width, self.height, self.classes = path, width, height, classes

    @abstractmethod
    def add(self, window: Window, sample: Any) -> None:
        """Take in a data sample of mmdet or mmseg."""

    @abstractmethod
    def prediction(self) -> Prediction:
        """What all windows together say."""


class InstanceFindings(Findings):
    """Boxes, and masks where the detector has them."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.windows: list[Window] = []
        self.found: list[list[Instance]] = []

    def add(self, window: Window, sample: Any) -> None:
        if 'pred_instances' not in sample:
            raise InputError(
                'the model gives no instances (pred_instances); predict is for detectors, instance '
                'and semantic segmentors'
            )
        instances = sample.pred_instances.cpu()
        boxes = np.asarray(getattr(instances.bboxes, 'tensor', instances.bboxes), dtype=float)
        codes: list[Any] = [None] * len(boxes)
        if 'masks' in instances:
            codes = [
                masks.encode(mask, window.left, window.top, self.width, self.height)
                for mask in np.asarray(instances.masks, dtype=bool)
            ]
        self.windows.append(window)
        self.found.append(
            [
                Instance(
                    label=label,
                    name=self.classes[label],
                    score=score,
                    box=(
                        box[0] + window.left,
                        box[1] + window.top,
                        box[2] - box[0],
                        box[3] - box[1],
                    ),
                    mask=code,
                )
                for box, label, score, code in zip(
                    boxes.tolist(),
                    instances.labels.tolist(),
                    instances.scores.float().tolist(),
                    codes,
                )
            ]
        )

    def prediction(self) -> Prediction:
        found = self.found[0] if len(self.found) == 1 else merge(self.windows, self.found)
        score = largest_score(instance.score for instance in found)
        by_class = largest_by_label(
            (one.label for one in found), (one.score for one in found), len(self.classes)
        )
        return Prediction(
            self.path,
            self.width,
            self.height,
            score,
            tuple(found),
            class_scores=tuple(by_class),
        )


class MapFindings(Findings):
    """Class maps, put together from what each window answers for.

    The map of the picture has a byte a pixel; probabilities of all classes are there for one window
    at a time.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        kind = np.uint8 if len(self.classes) <= 256 else np.uint16
        self.class_map: np.ndarray = np.zeros((self.height, self.width), kind)
        self.scores = np.zeros(len(self.classes))
        self.score = 0.0
        self.class_scores = [0.0] * len(self.classes)

    def add(self, window: Window, sample: Any) -> None:
        left, top, right, bottom = window.kept
        rows = slice(top - window.top, bottom - window.top)
        columns = slice(left - window.left, right - window.left)
        # With one output for two classes they are floating point.
        on_device = sample.pred_sem_seg.data.squeeze(0)[rows, columns].long()
        labels = on_device.cpu().numpy()
        probabilities = class_probabilities(sample.seg_logits.data[:, rows, columns])
        self.class_map[top:bottom, left:right] = labels
        self.score = max(self.score, largest_probability(probabilities, self.classes))
        found = largest_by_class(probabilities)
        self.class_scores = [max(pair) for pair in zip(self.class_scores, found)]
        for label in np.unique(labels).tolist():
            of_class = on_device == label
            self.scores[label] = max(
                self.scores[label], float(probabilities[label][of_class].max())
            )

    def prediction(self) -> Prediction:
        regions = []
        for label in np.unique(self.class_map).tolist():
            if label == 0 and has_background(self.classes):
                continue
            code = masks.encode(self.class_map == label, 0, 0, self.width, self.height)
            regions.append(
                Instance(
                    label, self.classes[label], float(self.scores[label]), masks.box_of(code), code
                )
            )
        regions.sort(key=lambda region: -region.score)
        return Prediction(
            self.path,
            self.width,
            self.height,
            self.score,
            tuple(regions),
            self.class_map,
            tuple(self.class_scores),
        )


FINDINGS: dict[Kind, type[Findings]] = {'detection': InstanceFindings, 'segmentation': MapFindings}


def findings_of(kind: Kind) -> type[Findings]:
    """What a kind of model finds."""
    return FINDINGS[kind]
