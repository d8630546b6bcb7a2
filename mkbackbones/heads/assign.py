"""Which anchor answers for which true box, and which anchors are drawn: all images at once.

The rules are those of mmdet's ``MaxIoUAssigner`` and ``RandomSampler``, written without a question
that the CPU has to wait for: no index of unknown length, no ``.item()``.
"""

import torch
from torch import Tensor

IGNORED, BACKGROUND = -1, 0


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
