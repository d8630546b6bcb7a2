"""Heads that say something of every place: RetinaNet, FCOS, ATSS, RTMDet, and those like them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .boxes import NONE, Found, best, by_label, clipped, decoded, pick, read_nms, scaled
from .preparation import Preparation
from .program import ExportError

__all__ = ['DenseDetector']


class DenseDetector(nn.Module):
    """A one-stage detector with what comes before and after the network.

    Args:
        model (nn.Module): mmdet's, as :func:`~mkbackbones.export.deployed`.
        preparation (Preparation): What comes before it.

    Raises:
        ExportError: Its head predicts in a way of its own.
    """

    outputs = ('boxes', 'scores', 'labels', 'score', 'class_scores')

    def __init__(self, model: Any, preparation: Preparation) -> None:
        super().__init__()
        from mmdet.models.dense_heads.base_dense_head import BaseDenseHead

        head = model.bbox_head
        own = ('predict', 'predict_by_feat', '_predict_by_feat_single', '_bbox_post_process')
        if not isinstance(head, BaseDenseHead) or not all(
            getattr(type(head), name) is getattr(BaseDenseHead, name) for name in own
        ):
            raise ExportError(
                f'{type(head).__name__} predicts in a way of its own; of one-stage detectors those '
                'are exported that predict like RetinaHead, FCOSHead, ATSSHead and '
                'RTMDetSepBNHead; take --part neck'
            )
        if not head.test_cfg.get('nms_pre', -1) > 0:
            raise ExportError('model.test_cfg.nms_pre has to be above 0 in a file, e.g. 1000')
        self.model, self.preparation = model, preparation
        self.rule = read_nms(head.test_cfg)

    @property
    def least_score(self) -> float:
        """Below it no boxes are kept."""
        head: Any = self.model.bbox_head
        return float(head.test_cfg.get('score_thr', 0))

    def forward(self, images: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        """Boxes of a batch.

        Args:
            images (Tensor): (B, H, W, 3), uint8, BGR, resized as the notes say.
            size (Tensor): Height and width of the pictures before that, int64.

        Returns:
            tuple: As of :class:`~mkbackbones.export.boxes.Found`, how sure the model is of a
            defect, (B,), and of one of each class, (B, C).
        """
        model: Any = self.model
        maps = model.bbox_head(model.extract_feat(self.preparation(images)))
        found = self.pick(maps, images, size)
        by_class = by_label(found.scores, found.labels, model.bbox_head.num_classes)
        return (*found, found.scores[:, 0], by_class)

    def pick(self, maps: Any, images: Tensor, size: Tensor) -> Found:
        """Boxes out of what the head says: scores, deltas and maybe factors of each level."""
        head: Any = self.model.bbox_head
        scores, deltas, *factors = maps
        priors = head.prior_generator.grid_priors([one.shape[-2:] for one in scores], device='cpu')
        parts = []
        for i, level in enumerate(priors):
            factor = factors[0][i] if factors and factors[0] is not None else None
            parts.append(self.best_of_level(scores[i], deltas[i], factor, level))
        top, labels, delta, prior = (torch.cat(part, 1) for part in zip(*parts))
        boxes = decoded(head.bbox_coder, prior, delta)
        boxes = clipped(self.preparation.limits(images), boxes, head.bbox_coder)
        boxes = scaled(boxes, size, images.shape[1:3])
        smallest = head.test_cfg.get('min_bbox_size', -1)
        if smallest >= 0:
            large = ((boxes[..., 2:] - boxes[..., :2]) > smallest).all(2)
            top = torch.where(large, top, NONE)
        return pick(boxes, top, labels, self.rule)

    def best_of_level(
        self, score: Tensor, delta: Tensor, factor: Tensor | None, priors: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scores, labels, deltas and priors of the best of a level: (B, nms_pre, ...)."""
        head: Any = self.model.bbox_head
        classes = head.cls_out_channels
        scores = by_place(score, classes)
        scores = scores.sigmoid() if head.use_sigmoid_cls else scores.softmax(-1)[..., :-1]
        classes = scores.shape[2]
        scores = torch.where(scores > self.least_score, scores, NONE).flatten(1)
        top, place = best(scores, head.test_cfg['nms_pre'])
        anchor, labels = place // classes, place % classes
        deltas = by_place(delta, head.bbox_coder.encode_size)
        if factor is not None:
            value = by_place(factor, 1)[..., 0].sigmoid().gather(1, anchor)
            top = torch.where(top > NONE, top * value, NONE)
        taken = deltas.gather(1, anchor[..., None].expand(-1, -1, deltas.shape[2]))
        return top, labels, taken, priors[anchor]


def by_place(values: Tensor, channels: int) -> Tensor:
    """(B, A * channels, h, w) to (B, h * w * A, channels)."""
    return values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, channels)
