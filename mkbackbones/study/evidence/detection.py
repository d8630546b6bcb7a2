"""Evidence of a detector, with boxes or masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .base import Evidence, alarm_metrics, alarm_weights, check_classes, nanmean

if TYPE_CHECKING:
    from pycocotools.coco import COCO

__all__ = ['DetectionEvidence']

RECALLS = np.linspace(0, 1, 101)  # where COCO reads the precision
SAMPLE_ENTRIES = 20_000_000  # entries of the largest temporary array
BLOCK = 64  # images that are scored together


@dataclass(eq=False)
class DetectionEvidence(Evidence):
    """Detections of n images, matched to the ground truth as COCO does.

    ``AP`` is COCO's mean over ten IoU thresholds from 0.50 to 0.95, ``AP50`` and ``AP75`` are
    those at one threshold, each the mean over the classes that have ground truth; ``AP/<class>``
    is over the thresholds. All sizes, at most 100 detections an image and class.
    Alarms are :func:`alarm_metrics`.

    Args:
        images (list[str]): See :class:`Evidence`.
        groups (list[str]): See :class:`Evidence`.
        image (ndarray): Index of the image of each detection, (m,), integers. Detections are in
            COCO's order within a class: by image, then falling score.
        category (ndarray): Index of its class, (m,), integers.
        score (ndarray): Its score, (m,).
        matched (ndarray): Whether it hit a ground truth, by threshold, (m, 10), bool.
        ignored (ndarray): Whether it hit a crowd and does not count, (m, 10), bool.
        num_truths (ndarray): Ground truths that count, by image and class, (n, C), integers.
        defect_score (ndarray): Highest score in each image, 0 without detections, (n,).
        defective (ndarray): Whether the image has ground truth, (n,), bool.
        good_scores (ndarray): Defect scores of the defect-free validation images, (v,); see
            :func:`alarm_metrics`.
    """

    per_image = ('num_truths', 'defect_score', 'defective')

    image: np.ndarray
    category: np.ndarray
    score: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    num_truths: np.ndarray
    defect_score: np.ndarray
    defective: np.ndarray
    good_scores: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def from_coco(
        cls,
        coco: COCO | str | Path,
        results: list[dict],
        groups: dict[str, str],
        classes: list[str],
        iou_type: str = 'bbox',
    ) -> DetectionEvidence:
        """Match results to the ground truth with pycocotools.

        Args:
            coco (COCO | str | Path): Ground truth, or its annotation file.
            results (list[dict]): COCO results: ``image_id``, ``category_id``, ``score`` and
                ``bbox`` or ``segmentation``.
            groups (dict[str, str]): Group of each image by ``file_name``.
            classes (list[str]): Names of the categories that count, in the order wanted.
            iou_type (str): ``'bbox'`` or ``'segm'``.

        Raises:
            ValueError: A class is not among the categories, an image has no group, or a result
                names an image that is not there.
        """
        from .matching import match_detections

        return cls(**match_detections(coco, results, groups, classes, iou_type))

    def resampled(self, classes: list[str], weights: np.ndarray) -> dict[str, np.ndarray]:
        check_classes(classes, self.num_truths.shape[1])
        ap = self._average_precision(np.asarray(weights))
        values = {
            'AP': nanmean(ap.mean(2)),
            'AP50': nanmean(ap[:, :, 0]),
            'AP75': nanmean(ap[:, :, 5]),
        }
        values |= {f'AP/{name}': ap[:, i].mean(1) for i, name in enumerate(classes)}
        return values | alarm_metrics(
            self.defect_score, self.defective, self.good_scores, np.asarray(weights)
        )

    def image_weights(self, classes: list[str]) -> dict[str, np.ndarray]:
        truths = self.num_truths.astype(np.float64)
        weights = dict.fromkeys(('AP', 'AP50', 'AP75'), truths)
        weights |= {f'AP/{name}': truths[:, [i]] for i, name in enumerate(classes)}
        return weights | alarm_weights(self.defective)

    def per_image_score(self) -> np.ndarray:
        """AP of the image alone; without ground truth, 1 less its highest score. (n,)"""
        ap = np.full(len(self.images), np.nan)
        for first in range(0, len(self.images), BLOCK):  # all at once would grow with n squared
            part = self._part(first, first + BLOCK)
            one_each = np.eye(len(part.images), dtype=np.int32)
            alone = part._average_precision(one_each).mean(2)
            ap[first : first + BLOCK] = nanmean(alone) / 100
        return np.where(np.isnan(ap), 1 - self.defect_score, ap)

    def _part(self, first: int, last: int) -> DetectionEvidence:
        """Evidence of the images from ``first`` to ``last``."""
        mine = (self.image >= first) & (self.image < last)
        of_images = ('images', 'groups', *self.per_image)
        of_detections = ('category', 'score', 'matched', 'ignored')
        return replace(
            self,
            image=self.image[mine] - first,
            **{name: getattr(self, name)[first:last] for name in of_images},
            **{name: getattr(self, name)[mine] for name in of_detections},
        )

    def _average_precision(self, weights: np.ndarray) -> np.ndarray:
        """AP in per cent by sample, class and threshold, (B, C, 10); NaN without ground truth."""
        num_classes = self.num_truths.shape[1]
        ap = np.full((len(weights), num_classes, self.matched.shape[1]), np.nan)
        for category in range(num_classes):
            mine = np.flatnonzero(self.category == category)
            mine = mine[np.argsort(-self.score[mine], kind='stable')]
            truths = weights @ self.num_truths[:, category]
            size = max(1, SAMPLE_ENTRIES // max(1, len(mine)))
            for first in range(0, len(weights), size):
                rows = slice(first, first + size)
                defined = truths[rows] > 0
                curves = self._curves(mine, weights[rows][defined])
                for threshold, (hits, counted) in enumerate(curves):
                    value = _area(hits, counted, truths[rows][defined])
                    ap[rows, category, threshold][defined] = 100 * value
        return ap

    def _curves(
        self, mine: np.ndarray, weights: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each threshold, at each hit: how many hits and detections so far, (B, hits).

        Between two hits precision only falls, so that the points at hits make the whole curve.
        """
        matched, ignored = self.matched[mine], self.ignored[mine]
        weights = weights[:, self.image[mine]]
        counted = None if ignored.any() else weights.cumsum(1)  # the same at every threshold
        for threshold in range(matched.shape[1]):
            counts = ~ignored[:, threshold]
            hits = np.flatnonzero(matched[:, threshold] & counts)
            so_far = (weights * counts).cumsum(1) if counted is None else counted
            yield weights[:, hits].cumsum(1), so_far[:, hits]


def _area(hits: np.ndarray, counted: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Mean over COCO's 101 recalls of the best precision at that recall or beyond, (B,)."""
    precision = hits / (counted + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.searchsorted(RECALLS, hits / truths[:, None], side='right')
    newly = np.diff(reached, axis=1, prepend=0)
    return (precision * newly).sum(1) / len(RECALLS)
