"""Faster, Mask and Cascade R-CNN: proposals, boxes and masks of a batch in one graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .boxes import NONE, Found, best, by_label, clipped, decoded, pick, read_nms, scaled
from .dense import by_place
from .operators import pool_regions
from .preparation import Preparation
from .program import ExportError
from .segmentors import given_size

__all__ = ['Pooling', 'Proposals', 'TwoStageDetector', 'pasted']


class Pooling(nn.Module):
    """mmdet's ``SingleRoIExtractor``, each region on its level.

    Args:
        extractor (nn.Module): The extractor, or one in an ``FP32RoIExtractor``.

    Raises:
        ExportError: It is of another kind.
    """

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        inner = getattr(extractor, 'roi_extractor', extractor)
        layers = list(inner.roi_layers)
        kinds = {type(layer).__name__ for layer in layers}
        if type(inner).__name__ != 'SingleRoIExtractor' or kinds != {'RoIAlign'}:
            raise ExportError(
                f'{type(inner).__name__} with {", ".join(sorted(kinds))} is not exported; '
                'SingleRoIExtractor with RoIAlign is'
            )
        if any(layer.pool_mode != 'avg' for layer in layers):
            raise ExportError("RoIAlign with pool_mode='max' is not exported; 'avg' is")
        first = layers[0]
        self.inner = inner
        self.scales = [float(layer.spatial_scale) for layer in layers]
        self.cells = [int(side) for side in first.output_size]
        self.ratio, self.aligned = int(first.sampling_ratio), bool(first.aligned)

    def forward(self, maps: Any, regions: Tensor) -> Tensor:
        """Features (R, C, s, s) of regions (R, 5): index of the image, x1, y1, x2, y2."""
        maps = list(maps[: len(self.scales)])
        level = self.inner.map_roi_levels(regions, len(maps))
        return pool_regions(maps, regions, level, self.scales, self.cells, self.ratio, self.aligned)


class Proposals(nn.Module):
    """What an ``RPNHead`` proposes.

    Args:
        head (nn.Module): mmdet's, or :class:`mkbackbones.heads.rpn_head.BatchedRPNHead`.

    Raises:
        ExportError: It proposes in a way of its own.
    """

    def __init__(self, head: Any) -> None:
        super().__init__()
        from mmdet.models.dense_heads import RPNHead

        own = type(head).__name__ not in ('RPNHead', 'BatchedRPNHead')
        if own or not isinstance(head, RPNHead) or not head.use_sigmoid_cls:
            raise ExportError(
                f'{type(head).__name__} is not exported; RPNHead and BatchedRPNHead with a sigmoid '
                'are'
            )
        if not head.test_cfg.get('nms_pre', -1) > 0:
            raise ExportError('model.test_cfg.rpn.nms_pre has to be above 0 in a file, e.g. 1000')
        self.head = head
        self.rule = read_nms(head.test_cfg)

    def forward(self, maps: Any, limits: tuple[Any, Any]) -> Found:
        """Proposals within a picture of so many pixels (height, width); labels are levels."""
        head: Any = self.head
        scores, deltas = head(maps)
        priors = head.prior_generator.grid_priors([one.shape[-2:] for one in scores], device='cpu')
        parts = []
        for level, prior in enumerate(priors):
            score = by_place(scores[level], 1)[..., 0].sigmoid()
            top, place = best(score, head.test_cfg['nms_pre'])
            delta = by_place(deltas[level], 4).gather(1, place[..., None].expand(-1, -1, 4))
            parts.append((top, torch.full_like(place, level), delta, prior[place]))
        top, levels, delta, prior = (torch.cat(part, 1) for part in zip(*parts))
        boxes = clipped(limits, decoded(head.bbox_coder, prior, delta), head.bbox_coder)
        smallest = head.test_cfg.get('min_bbox_size', -1)
        if smallest >= 0:
            large = ((boxes[..., 2:] - boxes[..., :2]) > smallest).all(2)
            top = torch.where(large, top, NONE)
        return pick(boxes, top, levels, self.rule)


class TwoStageDetector(nn.Module):
    """Faster, Mask or Cascade R-CNN with what comes before and after the network.

    Args:
        model (nn.Module): mmdet's, as :func:`~mkbackbones.export.deployed`.
        preparation (Preparation): What comes before it.

    Raises:
        ExportError: One of its parts predicts in a way of its own.
    """

    def __init__(self, model: Any, preparation: Preparation) -> None:
        super().__init__()
        self.model, self.preparation = model, preparation
        self.proposals = Proposals(model.rpn_head)
        roi_head: Any = model.roi_head
        check_roi_head(roi_head)
        self.pooling = nn.ModuleList(map(Pooling, stages(roi_head.bbox_roi_extractor)))
        self.rule = read_nms(roi_head.test_cfg)
        #: Below it no boxes are kept.
        self.least_score = float(roi_head.test_cfg.score_thr)
        self.outputs: tuple[str, ...] = ('boxes', 'scores', 'labels', 'score', 'class_scores')
        if roi_head.with_mask:
            self.outputs = (*self.outputs, 'masks')
            self.mask_pooling = nn.ModuleList(map(Pooling, stages(roi_head.mask_roi_extractor)))
            self.mask_threshold = float(roi_head.test_cfg.mask_thr_binary)

    def forward(self, images: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        """Boxes of a batch, and masks.

        Args:
            images (Tensor): (B, H, W, 3), uint8, BGR, resized as the notes say.
            size (Tensor): Height and width of the pictures before that, int64.

        Returns:
            tuple: As of :class:`~mkbackbones.export.boxes.Found`, how sure the model is of a
            defect, (B,), and of one of each class, (B, C), and of a detector with masks these,
            (B, K, height, width), bool.
        """
        model: Any = self.model
        maps = model.extract_feat(self.preparation(images))
        limits = self.preparation.limits(images)
        found = self.boxes(maps, self.proposals(maps, limits), limits)
        boxes = scaled(found.boxes, size, images.shape[1:3])
        number = stages(model.roi_head.bbox_head)[-1].num_classes
        by_class = by_label(found.scores, found.labels, number)
        results = (boxes, found.scores, found.labels, found.scores[:, 0], by_class)
        if not model.roi_head.with_mask:
            return results
        return (*results, self.masks(maps, found, boxes, size))

    def boxes(self, maps: Any, proposals: Found, limits: tuple[Any, Any]) -> Found:
        """What the second stage, or those of a cascade, make of proposals."""
        model: Any = self.model
        heads = stages(model.roi_head.bbox_head)
        regions = deltas = proposals.boxes
        logits: list[Tensor] = []
        for stage, (head, pooling) in enumerate(zip(heads, self.pooling, strict=True)):
            if stage:
                regions = refined(heads[stage - 1], regions, logits[-1], deltas, limits)
            of_stage, deltas = head(pooling(maps, as_regions(regions)))
            logits.append(of_stage)
        head = heads[-1]
        batch, number = proposals.scores.shape
        mean = torch.stack(logits).mean(0)
        scores = mean.softmax(-1)[:, :-1].reshape(batch, number, -1)
        classes = scores.shape[2]
        there = (proposals.labels >= 0)[..., None] & (scores > self.least_score)
        scores = torch.where(there, scores, NONE).flatten(1)
        labels = torch.arange(classes).repeat(number).expand(batch, -1)
        each = 1 if head.reg_class_agnostic else classes
        priors = regions.repeat_interleave(each, dim=1)
        boxes = decoded(head.bbox_coder, priors, deltas.reshape(batch, -1, 4))
        boxes = clipped(limits, boxes, head.bbox_coder)
        if each < classes:
            boxes = boxes.repeat_interleave(classes, dim=1)
        return pick(boxes, scores, labels, self.rule)

    def masks(self, maps: Any, found: Found, boxes: Tensor, size: Tensor) -> Tensor:
        """Masks of found boxes, (B, K, height, width), bool."""
        model: Any = self.model
        regions = as_regions(found.boxes)
        probabilities = []
        for head, pooling in zip(stages(model.roi_head.mask_head), self.mask_pooling, strict=True):
            logits = head(pooling(maps, regions))
            if not head.class_agnostic:
                chosen = found.labels.clamp(min=0).reshape(-1, 1, 1, 1)
                logits = logits.gather(1, chosen.expand(-1, 1, *logits.shape[2:]))
            probabilities.append(logits[:, 0].sigmoid())
        mean = torch.stack(probabilities).mean(0)
        values = mean.reshape(*found.scores.shape, *mean.shape[1:])
        inside = pasted(values, boxes, given_size(size)) >= self.mask_threshold
        return inside & (found.labels >= 0)[..., None, None]


def stages(part: Any) -> list[Any]:
    """The stages of a part of a second stage: several in a cascade, else itself alone."""
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def refined(
    head: Any, boxes: Tensor, logits: Tensor, deltas: Tensor, limits: tuple[Any, Any]
) -> Tensor:
    """Boxes (B, N, 4) as the next stage of a cascade takes them, by the best class of this one."""
    if not head.reg_class_agnostic:
        each = deltas.unflatten(1, (-1, 4))
        label = logits[:, :-1].argmax(1)
        deltas = each.gather(1, label[:, None, None].expand(-1, 1, 4))[:, 0]
    boxes = decoded(head.bbox_coder, boxes, deltas.reshape(*boxes.shape))
    return clipped(limits, boxes, head.bbox_coder)


def as_regions(boxes: Tensor) -> Tensor:
    """Boxes (B, K, 4) as (B * K, 5), the index of the image first."""
    image = torch.arange(boxes.shape[0], dtype=boxes.dtype)[:, None, None]
    return torch.cat([image.expand(-1, boxes.shape[1], 1), boxes], 2).flatten(0, 1)


def pasted(values: Tensor, boxes: Tensor, size: tuple[Any, Any]) -> Tensor:
    """Masks of boxes in their picture, interpolated bilinearly as mmdet does.

    Rows and columns are interpolated one after the other: two matrix products, without a grid of
    two coordinates for each pixel.

    Args:
        values (Tensor): (B, K, h, w).
        boxes (Tensor): (B, K, 4), x1, y1, x2, y2 in pixels.
        size (tuple[int, int]): Height and width of the picture.

    Returns:
        Tensor: (B, K, height, width), 0 outside of the boxes.
    """
    rows = weights(boxes[..., 1], boxes[..., 3], size[0], values.shape[2])
    columns = weights(boxes[..., 0], boxes[..., 2], size[1], values.shape[3])
    return rows @ values @ columns.transpose(2, 3)


def weights(begin: Tensor, end: Tensor, length: Any, cells: int) -> Tensor:
    """What each of so many pixels takes of cells between two ends, (B, K, length, cells)."""
    pixel = torch.arange(length) + 0.5
    extent = (end - begin).clamp(min=1e-6)[..., None]
    place = (pixel - begin[..., None]) / extent * cells - 0.5
    return (1 - (place[..., None] - torch.arange(cells)).abs()).clamp(min=0)


def check_roi_head(roi_head: Any) -> None:
    """Raise ExportError unless a second stage is one that is written out here."""
    kind = type(roi_head).__name__
    known = ('StandardRoIHead', 'BatchedRoIHead', 'CascadeRoIHead')
    if kind not in known or roi_head.with_shared_head:
        raise ExportError(
            f'{kind} is not exported as a whole; {", ".join(known)} without a shared head are; '
            'take --part neck'
        )
    for head in stages(roi_head.bbox_head):
        check_box_head(head)
    if not roi_head.with_mask:
        return
    from mmdet.models.roi_heads.mask_heads import FCNMaskHead

    for head in stages(roi_head.mask_head):
        if type(head) is not FCNMaskHead or roi_head.test_cfg.mask_thr_binary < 0:
            raise ExportError(
                f'mask_head {type(head).__name__} with mask_thr_binary '
                f'{roi_head.test_cfg.mask_thr_binary} is not exported; FCNMaskHead with one from 0 '
                'is'
            )


def check_box_head(head: Any) -> None:
    """Raise ExportError unless a box head predicts as most do."""
    from mmdet.models.roi_heads.bbox_heads import BBoxHead

    own = ('predict_by_feat', '_predict_by_feat_single', 'regress_by_class')
    if (
        not isinstance(head, BBoxHead)
        or any(getattr(type(head), name) is not getattr(BBoxHead, name) for name in own)
        or head.custom_cls_channels
        or not (head.with_cls and head.with_reg)
    ):
        raise ExportError(
            f'{type(head).__name__} predicts in a way of its own; those that predict like '
            'Shared2FCBBoxHead are exported; take --part neck'
        )
