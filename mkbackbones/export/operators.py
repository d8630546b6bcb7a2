"""Operators of ONNX that PyTorch lacks, as operators of our own with results of known shapes.

``torch.export`` wants to know how long things are. How many boxes survive suppression is not known,
which of them do is a mask; how many regions lie on a level is not known, their features have a
place each. In PyTorch they run on torchvision, in an ONNX file on the operators of ONNX. A saved
program calls them by name: whoever loads one imports this module before, or a copy of this file,
which needs torch and torchvision alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchvision  # noqa: F401 - registers torch.ops.torchvision
from torch import Tensor

__all__ = ['pool_regions', 'survivors', 'translations']


def survivors(boxes: Tensor, scores: Tensor, iou: float, least: float, most: int) -> Tensor:
    """Which boxes non-maximum suppression leaves of each image.

    Args:
        boxes (Tensor): (B, N, 4), x1, y1, x2, y2.
        scores (Tensor): (B, N).
        iou (float): Boxes that overlap a better one by more are dropped.
        least (float): Boxes up to this score are dropped.
        most (int): How many are left of an image at most, the best ones.

    Returns:
        Tensor: bool, (B, N).
    """
    return operators()[0](boxes, scores, iou, least, most)


def pool_regions(
    maps: list[Tensor],
    regions: Tensor,
    level: Tensor,
    scales: list[float],
    cells: list[int],
    ratio: int,
    aligned: bool,
) -> Tensor:
    """RoIAlign, each region on its level.

    Args:
        maps (list[Tensor]): Levels (B, C, h_i, w_i).
        regions (Tensor): (R, 5), index of the image and x1, y1, x2, y2 in pixels.
        level (Tensor): Level of each, int64, (R,).
        scales (list[float]): Size of each level over that of the image.
        cells (list[int]): Rows and columns of the result.
        ratio (int): Samples along each side of a cell; 0 takes about one a pixel.
        aligned (bool): Whether pixel centres lie at .5.

    Returns:
        Tensor: (R, C, rows, columns).
    """
    return operators()[1](maps, regions, level, scales, cells, ratio, aligned)


_made: list[Callable] = []


def operators() -> list[Callable]:
    """The two operators, made when the first is needed: older releases of PyTorch cannot."""
    if not _made:
        _made.extend(make())
    return _made


def make() -> list[Callable]:
    """Register the operators."""

    @torch.library.custom_op('mkbackbones::survivors', mutates_args=())
    def which(boxes: Tensor, scores: Tensor, iou: float, least: float, most: int) -> Tensor:
        keep = torch.zeros_like(scores, dtype=torch.bool)
        for i in range(len(boxes)):
            candidates = (scores[i] > least).nonzero()[:, 0]
            found = torch.ops.torchvision.nms(boxes[i][candidates], scores[i][candidates], iou)
            keep[i, candidates[found[:most]]] = True
        return keep

    @which.register_fake
    def _(boxes: Tensor, scores: Tensor, iou: float, least: float, most: int) -> Tensor:
        return torch.empty_like(scores, dtype=torch.bool)

    @torch.library.custom_op('mkbackbones::pool_regions', mutates_args=())
    def pool(
        maps: list[Tensor],
        regions: Tensor,
        level: Tensor,
        scales: list[float],
        cells: list[int],
        ratio: int,
        aligned: bool,
    ) -> Tensor:
        features = maps[0].new_zeros(len(regions), maps[0].shape[1], *cells)
        for i, each in enumerate(maps):
            there = (level == i).nonzero()[:, 0]
            features[there] = torch.ops.torchvision.roi_align(
                each, regions[there], scales[i], *cells, ratio, aligned
            )
        return features

    @pool.register_fake
    def _(
        maps: list[Tensor], regions: Tensor, level: Any, scales: Any, cells: list[int], *rest: Any
    ) -> Tensor:
        return maps[0].new_empty(regions.shape[0], maps[0].shape[1], cells[0], cells[1])

    return [which, pool]


def translations() -> dict[Any, Any]:
    """ONNX for the operators, as ``torch.onnx.export`` takes it."""
    from onnxscript import opset18 as op

    def which(boxes: Any, scores: Any, iou: float, least: float, most: int) -> Any:
        found = op.NonMaxSuppression(
            boxes,
            op.Unsqueeze(scores, op.Constant(value_ints=[1])),
            op.Constant(value_ints=[most]),
            op.Constant(value_floats=[iou]),
            op.Constant(value_floats=[least]),
        )  # (M, 3): image, 0, box
        places = op.Gather(found, op.Constant(value_ints=[0, 2]), axis=1)
        none = op.Cast(op.Mul(scores, op.Constant(value_float=0.0)), to=6)
        count = op.Slice(op.Shape(found), op.Constant(value_ints=[0]), op.Constant(value_ints=[1]))
        ones = op.Cast(op.Expand(op.Constant(value_int=1), count), to=6)
        return op.Cast(op.ScatterND(none, places, ones), to=9)

    def pool(
        maps: Any, regions: Any, level: Any, scales: Any, cells: Any, ratio: int, aligned: bool
    ) -> Any:
        mode = 'half_pixel' if aligned else 'output_half_pixel'
        places, features = [], []
        for i, each in enumerate(maps):
            there = op.Transpose(
                op.NonZero(op.Equal(level, op.Constant(value_int=i))), perm=[1, 0]
            )  # (M, 1)
            chosen = op.GatherND(regions, there)
            image = op.Gather(chosen, op.Constant(value_int=0), axis=1)
            corners = op.Gather(chosen, op.Constant(value_ints=[1, 2, 3, 4]), axis=1)
            places.append(there)
            features.append(
                op.RoiAlign(
                    each,
                    corners,
                    op.Cast(image, to=7),
                    coordinate_transformation_mode=mode,
                    mode='avg',
                    output_height=cells[0],
                    output_width=cells[1],
                    sampling_ratio=ratio,
                    spatial_scale=scales[i],
                )
            )
        pooled = op.Concat(*features, axis=0)
        return op.ScatterND(
            op.ConstantOfShape(op.Shape(pooled)), op.Concat(*places, axis=0), pooled
        )

    operators()
    ours: Any = torch.ops.mkbackbones
    return {ours.survivors.default: which, ours.pool_regions.default: pool}


if hasattr(torch.library, 'custom_op'):  # for whoever loads a program
    operators()
