"""Matching detections to ground truth with pycocotools."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ...hints import did_you_mean

__all__ = ['match_detections']

MAX_DETECTIONS = 100


def match_detections(
    coco: COCO | str | Path,
    results: list[dict],
    groups: dict[str, str],
    classes: list[str],
    iou_type: str,
) -> dict:
    """Arguments of :class:`DetectionEvidence`; see :meth:`DetectionEvidence.from_coco`."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports with print
        truth = coco if isinstance(coco, COCO) else COCO(str(coco))
        evaluation = _evaluate(_counted_from_one(truth), results, classes, iou_type)
    image_ids = evaluation.params.imgIds
    names = [truth.imgs[i]['file_name'] for i in image_ids]
    if missing := [name for name in names if name not in groups]:
        raise ValueError(
            f"{len(missing)} images have no group, '{missing[0]}' first: "
            'give each image a group, its own name if it is on its own'
        )
    ids = {category['name']: category['id'] for category in truth.dataset['categories']}
    category_ids = [ids[name] for name in classes]
    columns, num_truths, defective = _gather(evaluation, category_ids)
    defect_score = np.zeros(len(image_ids))
    np.maximum.at(defect_score, columns['image'], columns['score'])
    return dict(
        images=names,
        groups=[groups[name] for name in names],
        num_truths=num_truths,
        defect_score=defect_score,
        defective=defective,
        **columns,
    )


def _counted_from_one(coco: COCO) -> COCO:
    """A copy of the ground truth whose annotation ids start at 1.

    COCOeval notes the id of what a detection matched, and takes id 0 for no match. It also writes
    into the annotations, which are the caller's.
    """
    copy = COCO()
    annotations = coco.dataset.get('annotations', [])
    copy.dataset = coco.dataset | {
        'annotations': [ann | {'id': i} for i, ann in enumerate(annotations, 1)]
    }
    copy.createIndex()
    return copy


def _evaluate(truth: COCO, results: list[dict], classes: list[str], iou_type: str) -> COCOeval:
    """Matches of every class and image, in COCO's order."""
    ids = {category['name']: category['id'] for category in truth.dataset['categories']}
    for name in classes:
        if name not in ids:
            raise ValueError(f"the ground truth has no category '{name}'{did_you_mean(name, ids)}")
    for result in results:
        if result['image_id'] not in truth.imgs:
            raise ValueError(f'a result names image {result["image_id"]}, which is not there')
    if results:
        detections = truth.loadRes([dict(result) for result in results])
    else:  # loadRes looks at the first one
        detections = COCO()
        detections.dataset = truth.dataset | {'annotations': []}
        detections.createIndex()
    evaluation = COCOeval(truth, detections, iou_type)
    evaluation.params.catIds = [ids[name] for name in classes]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ['all']
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.evaluate()
    return evaluation


def _gather(
    evaluation: COCOeval, category_ids: list[int]
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Columns of the detections, truths that count by image and class, and where there are any."""
    params = evaluation.params
    num_images, num_thresholds = len(params.imgIds), len(params.iouThrs)
    num_truths = np.zeros((num_images, len(category_ids)), dtype=np.int64)
    defective = np.zeros(num_images, dtype=bool)
    parts: dict[str, list[np.ndarray]] = {
        'image': [np.zeros(0, np.int64)],
        'category': [np.zeros(0, np.int64)],
        'score': [np.zeros(0)],
        'matched': [np.zeros((0, num_thresholds), bool)],
        'ignored': [np.zeros((0, num_thresholds), bool)],
    }
    for position, entry in enumerate(evaluation.evalImgs):
        if entry is None:
            continue
        image = position % num_images
        category = category_ids.index(entry['category_id'])  # evaluate() has sorted the ids
        truths = np.asarray(entry['gtIgnore'])
        num_truths[image, category] = np.count_nonzero(truths == 0)
        defective[image] |= len(truths) > 0
        count = len(entry['dtScores'])
        parts['image'].append(np.full(count, image))
        parts['category'].append(np.full(count, category))
        parts['score'].append(np.asarray(entry['dtScores'], dtype=np.float64))
        parts['matched'].append(np.asarray(entry['dtMatches'], dtype=bool).T)
        parts['ignored'].append(np.asarray(entry['dtIgnore'], dtype=bool).T)
    return {name: np.concatenate(part) for name, part in parts.items()}, num_truths, defective
