"""Which anchor answers for which true box, and which anchors are drawn: all images at once.

The rules are those of mmdet's ``MaxIoUAssigner`` and ``RandomSampler``, written without a question
that the CPU has to wait for: no index of unknown length, no ``.item()``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

IGNORED, BACKGROUND = -1, 0
MOST_OVERLAPS = 2**24  # IoU that are in memory at a time, or those of one image


def padded(instances: Sequence[Any], like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """True boxes of all images as one tensor.

    Args:
        instances (Sequence[InstanceData]): ``bboxes`` (M, 4) and ``labels`` (M,) of each image.
        like (Tensor): Of the type and on the device that are wanted.

    Returns:
        tuple: Boxes (B, M, 4) and labels (B, M) with the largest M, at least 1, and which of them
        are no padding, bool, (B, M).
    """
    truths = [getattr(each.bboxes, 'tensor', each.bboxes).to(like) for each in instances]
    boxes = pad_sequence([truth.reshape(-1, 4) for truth in truths], batch_first=True)
    labels = pad_sequence([each.labels for each in instances], batch_first=True)
    if not boxes.shape[1]:
        boxes, labels = boxes.new_zeros(len(boxes), 1, 4), labels.new_zeros(len(labels), 1)
    return boxes, labels.to(like.device), leading(truths, boxes)


def leading(parts: Sequence[Any], whole: Tensor) -> Tensor:
    """Which rows of a padded tensor (B, M, ...) hold parts of some lengths, bool, (B, M)."""
    lengths = torch.tensor([len(part) for part in parts], device=whole.device)
    return torch.arange(whole.shape[1], device=whole.device) < lengths[:, None]


def assign_batch(
    assigner: Any, boxes: Tensor, present: Tensor, priors: Tensor, valid: Tensor
) -> Tensor:
    """:func:`assign_max_iou` with an assigner's settings, as many images at a time as fit.

    Args:
        assigner (MaxIoUAssigner): See :func:`mkbackbones.heads.known.knows_assigner`.
        boxes (Tensor): True boxes, (B, M, 4).
        present (Tensor): Which of them are no padding, bool, (B, M).
        priors (Tensor): Anchors of all images, (A, 4), or of each, (B, A, 4).
        valid (Tensor): Which of them count, bool, (B, A).

    Returns:
        Tensor: As of :func:`assign_max_iou`, (B, A).
    """
    priors = priors.expand(len(boxes), -1, -1)
    together = max(1, MOST_OVERLAPS // (boxes.shape[1] * max(priors.shape[1], 1)))
    parts = [
        assign_max_iou(
            assigner.iou_calculator(some_boxes, some_priors),
            some_present,
            some_valid,
            assigner.pos_iou_thr,
            assigner.neg_iou_thr,
            assigner.min_pos_iou,
            assigner.match_low_quality,
        )
        for some_boxes, some_present, some_priors, some_valid in zip(
            *(each.split(together) for each in (boxes, present, priors, valid))
        )
    ]
    return torch.cat(parts)


def assign_max_iou(
    overlaps: Tensor,
    present: Tensor,
    valid: Tensor,
    pos_iou_thr: float,
    neg_iou_thr: float | tuple[float, float],
    min_pos_iou: float,
    match_low_quality: bool,
) -> Tensor:
    """Assign anchors to true boxes, as ``MaxIoUAssigner.assign_wrt_overlaps`` does for one image.

    Args:
        overlaps (Tensor): IoU of true boxes and anchors, (B, M, A), overwritten.
        present (Tensor): Which of the M rows are boxes and not padding, bool, (B, M).
        valid (Tensor): Which anchors lie in the image, bool, (B, A).
        pos_iou_thr (float): An anchor answers for its best box from this IoU on.
        neg_iou_thr (float | tuple[float, float]): Below it, or within the two, it is background.
        min_pos_iou (float): A box whose best anchors have at least this IoU gets them anyway.
        match_low_quality (bool): Whether it does.

    Returns:
        Tensor: For each anchor 1 + the index of its box, 0 for background, -1 for none of both;
        int64, (B, A).
    """
    overlaps.masked_fill_(~(present[:, :, None] & valid[:, None, :]), -1)
    best, box = overlaps.max(dim=1)
    low, high = (0.0, neg_iou_thr) if isinstance(neg_iou_thr, float) else neg_iou_thr
    background = (best >= low) & (best < high)
    # Without a box, each anchor of the image is background.
    background |= valid & ~present.any(1, keepdim=True)
    assigned = background.long() - 1
    assigned = torch.where(best >= pos_iou_thr, box + 1, assigned)
    if match_low_quality:
        best_of_box = overlaps.amax(dim=2, keepdim=True)
        asks = present[:, :, None] & (best_of_box >= min_pos_iou)
        number = torch.arange(1, overlaps.shape[1] + 1, device=overlaps.device)[:, None]
        # Of several boxes with the same best anchor the last one gets it.
        claimed = torch.where((overlaps == best_of_box) & asks, number, 0).amax(dim=1)
        assigned = torch.where(claimed > 0, claimed, assigned)
    return assigned


def sample(
    assigned: Tensor, num: int, pos_fraction: float, neg_pos_ub: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw anchors without putting any back, as ``RandomSampler`` does for one image.

    Args:
        assigned (Tensor): What :func:`assign_max_iou` returns, (B, A).
        num (int): How many to draw for an image.
        pos_fraction (float): The most of them that answer for a box.
        neg_pos_ub (float): The most background for each of those, at least for one; negative for
            any number.

    Returns:
        tuple: Indices of drawn positive anchors, (B, P); which of these places hold one, bool,
        (B, P); the same of background, (B, N).
    """
    most = assigned.shape[1]
    key = torch.rand(assigned.shape, device=assigned.device)
    key_pos, pos = key.masked_fill(assigned <= BACKGROUND, -1).topk(
        min(int(num * pos_fraction), most), dim=1
    )
    is_pos = key_pos >= 0
    num_pos = is_pos.sum(1, keepdim=True)
    wanted = num - num_pos
    if neg_pos_ub >= 0:
        wanted = wanted.minimum((num_pos.clamp(min=1) * neg_pos_ub).long())
    key_neg, neg = key.masked_fill(assigned != BACKGROUND, -1).topk(min(num, most), dim=1)
    rank = torch.arange(neg.shape[1], device=neg.device)
    return pos, is_pos, neg, (key_neg >= 0) & (rank < wanted)


def chosen(index: Tensor, holds: Tensor, length: int) -> Tensor:
    """Mask of the places that hold an index, bool, (B, length), of (B, K) each."""
    mask = holds.new_zeros(len(index), length)
    return mask.scatter_(1, index, holds)
