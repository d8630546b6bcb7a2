"""Evidence of a semantic segmentor."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .base import Evidence, alarm_metrics, alarm_weights, check_classes, nanmean, ratio

__all__ = ['SegmentationEvidence']


@dataclass(eq=False)
class SegmentationEvidence(Evidence):
    """Confusion matrix of each of n images.

    Metrics are mmseg's ``IoUMetric``: pixels of all images are pooled, ``mIoU`` is the mean of
    ``IoU/<class>`` over the classes that occur in truth or prediction, ``mAcc`` the mean over
    those that occur in truth, ``aAcc`` the share of correct pixels. ``F1/<class>`` is
    ``2 I / (truth + prediction)``: mmseg's Fscore wherever that is a number, and 0 where a class
    is never found and mmseg gives NaN. Alarms are :func:`alarm_metrics`.

    Args:
        images (list[str]): See :class:`Evidence`.
        groups (list[str]): See :class:`Evidence`.
        confusion (ndarray): Pixels by true class (row) and predicted class (column),
            (n, C, C), int64; without ignored pixels.
        defect_score (ndarray): How sure the model is that the image has a defect, (n,).
        defective (ndarray): Whether it has one, (n,), bool.
        good_scores (ndarray): Defect scores of the defect-free validation images, (v,); see
            :func:`alarm_metrics`.
    """

    per_image = ('confusion', 'defect_score', 'defective')

    confusion: np.ndarray
    defect_score: np.ndarray
    defective: np.ndarray
    good_scores: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def _areas(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels of intersection, truth and prediction by image and class, each (n, C)."""
        intersection = np.diagonal(self.confusion, axis1=1, axis2=2)
        return intersection, self.confusion.sum(2), self.confusion.sum(1)

    def resampled(self, classes: list[str], weights: np.ndarray) -> dict[str, np.ndarray]:
        check_classes(classes, self.confusion.shape[1])
        # int64 products are exact but have no fast path; float64 is exact up to 2^53 pixels.
        areas = (weights.astype(np.float64) @ area.astype(np.float64) for area in self._areas())
        intersection, truth, predicted = areas
        iou = ratio(intersection, truth + predicted - intersection)
        f1 = ratio(2 * intersection, truth + predicted)
        values = {
            'mIoU': nanmean(iou),
            'aAcc': ratio(intersection.sum(1), truth.sum(1)),
            'mAcc': nanmean(ratio(intersection, truth)),
        }
        values |= {f'IoU/{name}': iou[:, i] for i, name in enumerate(classes)}
        values |= {f'F1/{name}': f1[:, i] for i, name in enumerate(classes)}
        return values | alarm_metrics(
            self.defect_score, self.defective, self.good_scores, np.asarray(weights)
        )

    def image_weights(self, classes: list[str]) -> dict[str, np.ndarray]:
        truth = self.confusion.sum(2).astype(np.float64)
        weights = {'mIoU': truth, 'mAcc': truth, 'aAcc': truth.sum(1, keepdims=True)}
        for i, name in enumerate(classes):
            weights |= dict.fromkeys((f'IoU/{name}', f'F1/{name}'), truth[:, [i]])
        return weights | alarm_weights(self.defective)

    def per_image_score(self) -> np.ndarray:
        """Mean IoU over the classes in the image's truth or prediction, (n,)."""
        intersection, truth, predicted = self._areas()
        return nanmean(ratio(intersection, truth + predicted - intersection)) / 100
