"""Non-maximum suppression, with the signatures of mmcv's compiled operators."""

import numpy as np
import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor

from .precision import widen

_NAIVE, _LINEAR, _GAUSSIAN = 0, 1, 2  # mmcv's method flags for soft-NMS


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Keep the best-scored of the boxes that overlap by more than a threshold.

    Args:
        boxes (Tensor): (N, 4), x1, y1, x2, y2 in pixels.
        scores (Tensor): (N,).
        iou_threshold (float): Boxes with a larger IoU than this are suppressed.
        offset (int): 0, or 1 where x2 and y2 are the last pixel inside the box.

    Returns:
        Tensor: Indices of the kept boxes, int64, by descending score.
    """
    boxes, scores = widen(boxes, scores)
    dtype = torch.promote_types(boxes.dtype, scores.dtype)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    if offset:
        boxes = torch.cat((boxes[:, :2], boxes[:, 2:] + offset), dim=1)
    # mmcv compares in the boxes' precision, torchvision in double: 3 / 5 in float32 exceeds 0.6.
    threshold = torch.tensor(iou_threshold, dtype=dtype).item()
    return torch.ops.torchvision.nms(boxes, scores, threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lower the scores of overlapping boxes instead of dropping them (soft-NMS), on the CPU.

    Args:
        boxes (Tensor): (N, 4), x1, y1, x2, y2 in pixels.
        scores (Tensor): (N,).
        dets (Tensor): Output, (N, 5): its first K rows get the kept boxes and their new scores.
        iou_threshold (float): Overlap from which the naive and linear methods act.
        sigma (float): Width of the gaussian method.
        min_score (float): Boxes whose score falls below it are dropped.
        method (int): 0 naive (score 0), 1 linear (1 - IoU), 2 gaussian (exp(-IoU^2 / sigma)).
        offset (int): 0, or 1 where x2 and y2 are the last pixel inside the box.

    Returns:
        Tensor: Indices of the K kept boxes, int64, in the order of ``dets``.
    """
    # One row a quantity, so that each is contiguous; numpy, because the loop makes N times ten
    # tiny vector operations and its overhead per call is the smallest.
    columns = torch.cat(widen(boxes, scores[:, None]), dim=1)
    rows = columns.detach().cpu().T.numpy().copy()
    scalar = rows.dtype.type
    iou_threshold, sigma, min_score = scalar(iou_threshold), scalar(sigma), scalar(min_score)
    area = (rows[2] - rows[0] + offset) * (rows[3] - rows[1] + offset)
    table = np.concatenate((rows, area[None]))
    order = np.arange(table.shape[1])

    count, i = len(order), 0
    while i < count:
        best = i + int(table[4, i:count].argmax())
        table[:, [i, best]] = table[:, [best, i]]
        order[[i, best]] = order[[best, i]]

        x1, y1, x2, y2, score, area = rest = table[:, i + 1 : count]
        width = np.maximum(np.minimum(table[2, i], x2) - np.maximum(table[0, i], x1) + offset, 0)
        height = np.maximum(np.minimum(table[3, i], y2) - np.maximum(table[1, i], y1) + offset, 0)
        intersection = width * height
        union = table[5, i] + area - intersection
        # Boxes without an area overlap nothing; mmcv's gaussian method makes their scores NaN.
        iou = np.divide(intersection, union, out=np.zeros_like(union), where=union != 0)
        if method == _GAUSSIAN:
            score *= np.exp(-(iou * iou) / sigma)
        else:
            score *= np.where(iou >= iou_threshold, 1 - iou if method == _LINEAR else 0, 1)

        # Same order as mmcv: the gap of a dropped box is filled with the last one that stays.
        stays = ~(score < min_score)
        kept = int(stays.sum())
        gaps = np.flatnonzero(~stays[:kept])
        fillers = kept + np.flatnonzero(stays[kept:])[::-1]
        rest[:, gaps] = rest[:, fillers]
        order[i + 1 + gaps] = order[i + 1 + fillers]
        i, count = i + 1, i + 1 + kept

    dets[:count] = torch.from_numpy(table[:5, :count].T).to(dets)
    return torch.from_numpy(order[:count]).to(boxes.device)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group each kept box with the boxes it suppresses.

    Args:
        dets (Tensor): (N, 5), x1, y1, x2, y2 in pixels and the score.
        iou_threshold (float): Boxes with at least this IoU join the group.

    Returns:
        list[list[int]]: Per kept box, its index and those of its group, by descending score.
    """
    (dets,) = widen(dets)
    top_left, bottom_right = dets[:, :2], dets[:, 2:4]
    area = (bottom_right - top_left).prod(1)
    threshold = torch.tensor(iou_threshold, dtype=dets.dtype, device=dets.device)
    rest = dets[:, 4].argsort(descending=True, stable=True)
    groups = []
    while len(rest):
        best, rest = rest[0], rest[1:]
        size = bottom_right[best].minimum(bottom_right[rest])
        size = (size - top_left[best].maximum(top_left[rest])).clamp(min=0)
        intersection = size.prod(1)
        joins = intersection / (area[best] + area[rest] - intersection) >= threshold
        groups.append([best.item(), *rest[joins].tolist()])
        rest = rest[~joins]
    return groups
