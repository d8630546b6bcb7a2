"""Overlaps of axis-aligned boxes, with the signature of mmcv's compiled operator."""

from torch import Tensor

from .precision import widen

_IOU = 0  # mmcv's mode flags: 0 intersection over union, 1 intersection over the first box


def bbox_overlaps(
    boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Write the overlaps of two sets of boxes into ``ious``.

    Args:
        boxes1 (Tensor): (M, 4), x1, y1, x2, y2 in pixels.
        boxes2 (Tensor): (N, 4); N = M if ``aligned``.
        ious (Tensor): Output: (M,) if ``aligned``, else (M, N).
        mode (int): 0 for IoU, 1 for the intersection over the area of the first box.
        aligned (bool): Compare the i-th box with the i-th only.
        offset (int): 0, or 1 where x2 and y2 are the last pixel inside the box.
    """
    first, second = widen(boxes1, boxes2)
    if not aligned:
        first, second = first[:, None], second[None]
    top_left = first[..., :2].maximum(second[..., :2])
    bottom_right = first[..., 2:].minimum(second[..., 2:])
    intersection = (bottom_right - top_left + offset).clamp(min=0).prod(-1)
    area1 = (first[..., 2:] - first[..., :2] + offset).prod(-1)
    base = area1
    if mode == _IOU:
        area2 = (second[..., 2:] - second[..., :2] + offset).prod(-1)
        base = area1 + area2 - intersection
    ious.copy_(intersection / base)
