"""What all detectors do with boxes, written for a batch and for shapes that are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .operators import survivors
from .program import ExportError

__all__ = [
    'Found',
    'Suppression',
    'best',
    'by_label',
    'clipped',
    'decoded',
    'pick',
    'read_nms',
    'scaled',
]

#: Score of a place that holds no box.
NONE = -1.0


class Suppression(NamedTuple):
    """Non-maximum suppression, as ``test_cfg`` says.

    Args:
        iou (float): Boxes that overlap a better one by more are dropped.
        by_label (bool): Only those of one label are compared.
        most (int): How many are left of an image at most.
    """

    iou: float
    by_label: bool
    most: int


class Found(NamedTuple):
    """Boxes of a batch, so many for each image; the last ones may be none, with label -1.

    Args:
        boxes (Tensor): (B, K, 4), x1, y1, x2, y2.
        scores (Tensor): (B, K), falling.
        labels (Tensor): (B, K), int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def read_nms(cfg: Any) -> Suppression:
    """Suppression of a ``test_cfg``.

    Raises:
        ExportError: It is of another kind.
    """
    nms = dict(cfg.get('nms') or {})
    kind = nms.pop('type', 'nms')
    iou = nms.pop('iou_threshold', nms.pop('iou_thr', None))
    agnostic = nms.pop('class_agnostic', False)
    nms.pop('split_thr', None)
    if kind != 'nms' or nms or iou is None or not cfg.get('max_per_img', -1) > 0:
        raise ExportError(
            f'test_cfg.nms {dict(cfg.get("nms") or {})} with max_per_img '
            f'{cfg.get("max_per_img")} is not exported; a file takes type nms, iou_threshold, '
            'class_agnostic and a max_per_img above 0'
        )
    # As mmcv compares: in float32.
    return Suppression(torch.tensor(iou).item(), not agnostic, cfg['max_per_img'])


def decoded(coder: Any, priors: Tensor, deltas: Tensor) -> Tensor:
    """Boxes (B, N, 4), in pixels, of anchors or points (B, N, ...) and what a head says of them.

    Raises:
        ExportError: The coder is of an unknown kind.
    """
    kind = type(coder).__name__
    if kind not in ('DeltaXYWHBBoxCoder', 'DistancePointBBoxCoder'):
        raise ExportError(
            f'bbox_coder {kind} is not exported; DeltaXYWHBBoxCoder and DistancePointBBoxCoder are'
        )
    boxes = coder.decode(priors.flatten(0, 1), deltas.flatten(0, 1))
    boxes = getattr(boxes, 'tensor', boxes)
    return boxes.reshape(*deltas.shape[:2], 4)


def clipped(limits: tuple[Any, Any], boxes: Tensor, coder: Any = None) -> Tensor:
    """Boxes within a picture of so many pixels (height, width), unless the coder leaves them."""
    if coder is not None and not coder.clip_border:
        return boxes
    x, y = (
        boxes[..., i::2].clamp(min=0).minimum(torch.scalar_tensor(limits[1 - i])) for i in (0, 1)
    )
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)


def scaled(boxes: Tensor, size: Tensor, shape: Sequence[Any]) -> Tensor:
    """Boxes in pixels of the picture before it was resized to ``shape`` (height, width)."""
    resized = torch.stack([torch.scalar_tensor(side) for side in shape])
    factor = (size.float() / resized).flip(0)
    return boxes * torch.cat([factor, factor])


def best(scores: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The best scores of each image, and their places; :data:`NONE` where there are not so many.

    Args:
        scores (Tensor): (B, N); N may be less than the number.
        number (int): How many.

    Returns:
        tuple: (B, number) each.
    """
    enough = F.pad(scores, (0, number), value=NONE)
    top, place = enough.topk(number, dim=1)
    return top, torch.where(top > NONE, place, 0)


def by_label(scores: Tensor, labels: Tensor, number: int) -> Tensor:
    """The best score of each of so many classes, (B, number), 0 without a box.

    Args:
        scores (Tensor): (B, K).
        labels (Tensor): (B, K), int64, -1 where there is no box.
        number (int): How many classes there are.
    """
    own = labels[..., None] == torch.arange(number)
    return torch.where(own, scores[..., None], 0.0).amax(1)


def pick(boxes: Tensor, scores: Tensor, labels: Tensor, rule: Suppression) -> Found:
    """Suppress boxes that overlap better ones, and keep the best.

    Args:
        boxes (Tensor): (B, N, 4).
        scores (Tensor): (B, N), :data:`NONE` where there is no box.
        labels (Tensor): (B, N), int64.
        rule (Suppression): How.
    """
    apart = boxes
    if rule.by_label:  # boxes of different labels are moved away from each other
        step = boxes.amax((1, 2), keepdim=True) + 1
        apart = boxes + labels[..., None] * step
    kept = survivors(apart, scores, rule.iou, NONE / 2, rule.most)
    top, place = best(torch.where(kept, scores, NONE), rule.most)
    there = top > NONE
    boxes = boxes.gather(1, place[..., None].expand(-1, -1, 4)) * there[..., None]
    labels = torch.where(there, labels.gather(1, place), -1)
    return Found(boxes, top.clamp(min=0), labels)
