"""Segmentors of mmseg: pictures to class maps and scores, in one graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..engine.defect_score import has_background
from . import mask2former
from .preparation import Preparation
from .program import ExportError

__all__ = ['Segmentor', 'given_size']


def given_size(size: Tensor) -> tuple[Any, Any]:
    """Height and width out of a tensor that is an input of the graph."""
    height, width = size.tolist()
    torch._check(height >= 1)
    torch._check(width >= 1)
    return height, width


class Segmentor(nn.Module):
    """An ``EncoderDecoder`` with what comes before and after the network.

    Args:
        model (nn.Module): mmseg's ``EncoderDecoder``, as :func:`~mkbackbones.export.deployed`.
        preparation (Preparation): What comes before it.
        classes (Sequence[str]): Names of the classes.

    Raises:
        ExportError: It is of another kind, or slides a window.
    """

    outputs = ('class_map', 'scores', 'score', 'class_scores')

    def __init__(self, model: Any, preparation: Preparation, classes: Sequence[str]) -> None:
        super().__init__()
        from mmseg.models.decode_heads.decode_head import BaseDecodeHead
        from mmseg.models.segmentors import EncoderDecoder

        head = type(model.decode_head) if type(model) is EncoderDecoder else type(model)
        usual = all(
            getattr(head, name, None) is getattr(BaseDecodeHead, name)
            for name in ('predict', 'predict_by_feat')
        )
        self.has_queries = mask2former.is_known(getattr(model, 'decode_head', None))
        if type(model) is not EncoderDecoder or not (usual or self.has_queries):
            raise ExportError(
                f'{head.__name__} predicts in a way of its own; whole segmentors are exported that '
                'are an EncoderDecoder whose head gives logits, or Mask2FormerHead; take --part '
                'neck'
            )
        if model.test_cfg.get('mode', 'whole') != 'whole':
            raise ExportError(
                f'model.test_cfg.mode={model.test_cfg.mode!r} moves a window over each picture, '
                "which no file does; train and test with dict(mode='whole'), or take --part neck"
            )
        self.model, self.preparation = model, preparation
        self.has_background = has_background(classes)
        self.dtype = torch.uint8 if len(classes) <= 256 else torch.int32

    def forward(self, images: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        """Class of each pixel.

        Args:
            images (Tensor): (B, H, W, 3), uint8, BGR, resized as the notes say.
            size (Tensor): Height and width of the pictures before that, int64.

        Returns:
            tuple: Classes (B, height, width), uint8, or int32 from 257 on; the probability of each
            pixel's class (B, height, width); how sure the model is of a defect (B,), and of each
            class anywhere (B, C).
        """
        pixels = self.preparation(images)
        maps = self.model.extract_feat(pixels)
        corners, whole = self.model.align_corners, pixels.shape[2:]
        if self.has_queries:
            logits = mask2former.logits_of(self.model.decode_head, maps, whole)
        else:
            logits = self.model.decode_head(maps)
            logits = F.interpolate(logits, whole, mode='bilinear', align_corners=corners)
        # Without the padding, then as large as the picture was.
        height, width = self.preparation.limits(images)
        logits = F.interpolate(
            logits[:, :, :height, :width], given_size(size), mode='bilinear', align_corners=corners
        )
        if logits.shape[1] == 1:
            defect = logits.sigmoid()
            probabilities = torch.cat([1 - defect, defect], 1)
            class_map = (defect > self.model.decode_head.threshold)[:, 0].long()
            scores = probabilities.gather(1, class_map[:, None])[:, 0]
        else:
            probabilities = logits.softmax(1)
            class_map, scores = logits.argmax(1), probabilities.amax(1)
        if self.has_background:
            score = 1 - probabilities[:, 0].amin((1, 2))
        else:  # no class means 'no defect'
            score = torch.ones_like(scores[:, 0, 0])
        return class_map.to(self.dtype), scores, score, probabilities.amax((2, 3))
