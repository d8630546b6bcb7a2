"""A backbone, global average pooling and a linear layer."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ..registry import MODELS

__all__ = ['ImageClassifier']


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """Classify images by the mean over the backbone's last map.

    Swin and ViT are pooled alike, so that the whole backbone is trained in the form in which
    detectors and segmentors use it: a class token would not see their maps.

    Args:
        backbone (dict): Config of a backbone that returns maps (B, C, h, w).
        num_classes (int): Classes.
        in_channels (int): Channels C of the last map.
        label_smoothing (float): Of the cross entropy.
        data_preprocessor (dict, optional): Default: ImageNet's mean and standard deviation.
        init_cfg (dict, optional): Initialisation.
    """

    def __init__(
        self,
        backbone: dict,
        num_classes: int,
        in_channels: int,
        label_smoothing: float = 0.0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            data_preprocessor
            or dict(
                type='ImgDataPreprocessor',
                mean=(123.675, 116.28, 103.53),
                std=(58.395, 57.12, 57.375),
            ),
            init_cfg,
        )
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(in_channels, num_classes)
        self.label_smoothing = label_smoothing

    def init_weights(self) -> None:
        """Initialise the backbone as its config says, and the head small."""
        super().init_weights()
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(  # type: ignore[override]  # mmengine's leaves the tensor out
        self,
        inputs: Tensor,
        data_samples: list[BaseDataElement] | None = None,
        mode: Literal['tensor', 'loss', 'predict'] = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[BaseDataElement]:
        """Classify images.

        Args:
            inputs (Tensor): Normalised images (B, 3, H, W).
            data_samples (list[BaseDataElement], optional): Their samples with ``gt_label``.
            mode (str): ``tensor`` for logits (B, classes), ``loss`` for losses, ``predict`` for
                the samples with ``pred_score`` and ``pred_label``.
        """
        samples: Any = data_samples  # their fields are set at run time
        logits = self.head(self.backbone(inputs)[-1].mean((2, 3)))
        if mode == 'tensor':
            return logits
        if mode == 'loss':
            labels = torch.stack([sample.gt_label for sample in samples])
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)
            return {'loss': loss, 'acc': 100 * (logits.argmax(1) == labels).float().mean()}
        for sample, score in zip(samples, logits.float().softmax(1)):
            sample.pred_score = score
            sample.pred_label = score.argmax()
        return samples
