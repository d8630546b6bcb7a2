"""What becomes of a picture before the network: what a file does of it, and what is left outside.

Resizing is left outside. OpenCV's bilinear resize works in fixed point and rounds to whole numbers,
which no operator of ONNX does: within the file it would change scores. The file says how to resize,
and has everything else: channel order, normalisation and padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .program import ExportError

__all__ = ['Preparation', 'read_pipeline', 'resized_size']

#: Steps of a pipeline that change no pixel.
NEUTRAL = ('LoadAnnotations', 'PackDetInputs', 'PackSegInputs')


class Preparation(nn.Module):
    """uint8 pictures (B, H, W, 3) as OpenCV reads them to what the network takes, (B, 3, H', W').

    Args:
        preprocessor (nn.Module): ``DetDataPreprocessor`` or ``SegDataPreProcessor``.
        fixed (tuple[int, int], optional): Height and width to which the pipeline pads.
        fixed_value (float): With which it does so, before normalisation.

    Raises:
        ExportError: It does something else than to normalise and to pad.
    """

    def __init__(
        self, preprocessor: Any, fixed: tuple[int, int] | None = None, fixed_value: float = 0.0
    ) -> None:
        super().__init__()
        kind = type(preprocessor).__name__
        if kind not in ('DetDataPreprocessor', 'SegDataPreProcessor'):
            raise ExportError(
                f'data_preprocessor {kind} is not known; whole models are exported with '
                "DetDataPreprocessor or SegDataPreProcessor; take --part neck for this one's maps"
            )
        self.fixed, self.fixed_value = fixed, fixed_value
        self.swaps = bool(preprocessor._channel_conversion)
        self.normalises = bool(preprocessor._enable_normalize)
        self.mean: Tensor
        self.std: Tensor
        if self.normalises:
            self.register_buffer('mean', preprocessor.mean.float().cpu())
            self.register_buffer('std', preprocessor.std.float().cpu())
        self.value = float(preprocessor.pad_value)
        self.divisor, self.least = preprocessor.pad_size_divisor, (0, 0)
        if kind == 'SegDataPreProcessor':
            rule = preprocessor.test_cfg or {}
            self.divisor = rule.get('size_divisor') or 1
            self.least = tuple(rule.get('size') or (0, 0))

    def limits(self, images: Tensor) -> tuple[Any, Any]:
        """Height and width of what counts as the picture: with the padding of the pipeline."""
        height, width = images.shape[1:3]
        if self.fixed is None:
            return height, width
        return torch.sym_max(height, self.fixed[0]), torch.sym_max(width, self.fixed[1])

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float()
        height, width = images.shape[1:3]
        limits = self.limits(images)
        if self.fixed is not None:
            pad = (0, limits[1] - width, 0, limits[0] - height)
            pixels = F.pad(pixels, pad, value=self.fixed_value)
        if self.swaps:
            pixels = pixels.flip(1)
        if self.normalises:
            pixels = (pixels - self.mean) / self.std
        if max(self.least) > 0:
            down, right = (torch.sym_max(b - a, 0) for a, b in zip(limits, self.least))
            return F.pad(pixels, (0, right, 0, down), value=self.value)
        if self.divisor > 1:
            down, right = (-side % self.divisor for side in limits)
            return F.pad(pixels, (0, right, 0, down), value=self.value)
        return pixels


def read_pipeline(steps: Sequence[Any]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """What a test pipeline does to pictures.

    Args:
        steps (Sequence[dict]): ``test_dataloader.dataset.pipeline`` of a config.

    Returns:
        tuple: How to resize, ``dict(scale=[long, short], keep_ratio=True)`` or
        ``dict(scale=[width, height], keep_ratio=False)``, None if it does not; and arguments of
        :class:`Preparation` for what it pads.

    Raises:
        ExportError: It does something else.
    """
    resize: dict[str, Any] | None = None
    padding: dict[str, Any] = {}
    for step in steps:
        kind = str(step.get('type')).rpartition('.')[2]
        rest = {k: v for k, v in step.items() if k != 'type'}
        if kind == 'LoadImageFromFile':
            usual = rest.get('color_type', 'color') == 'color' and not rest.get('to_float32')
        elif kind == 'Resize' and resize is None and not padding:
            usual = (
                rest.get('scale') is not None
                and rest.get('interpolation', 'bilinear') == 'bilinear'
                and rest.get('backend', 'cv2') == 'cv2'
            )
            if usual:
                scale = rest['scale']
                scale = [scale, scale] if isinstance(scale, int) else list(scale)
                resize = dict(scale=scale, keep_ratio=bool(rest.get('keep_ratio', False)))
        elif kind == 'Pad' and not padding:
            value = rest.get('pad_val', 0)  # a number, or what is for pictures and for maps
            value = value.get('img', 0) if isinstance(value, dict) else value
            values = set(value) if isinstance(value, list | tuple) else {value}
            usual = set(rest) <= {'size', 'pad_val'} and 'size' in rest and len(values) == 1
            if usual:
                width, height = rest['size']
                padding = dict(fixed=(height, width), fixed_value=float(values.pop()))
        else:
            usual = kind in NEUTRAL
        if not usual:
            raise ExportError(
                f'the test pipeline has {dict(step)}, which no file does; it may '
                'load colour pictures, resize them bilinearly to a scale and pad them to a size'
            )
    return resize, padding


def resized_size(resize: dict[str, Any] | None, width: int, height: int) -> tuple[int, int]:
    """Width and height to which a picture is resized, as mmcv works them out."""
    if resize is None:
        return width, height
    if not resize['keep_ratio']:
        return resize['scale'][0], resize['scale'][1]
    long, short = max(resize['scale']), min(resize['scale'])
    factor = min(long / max(width, height), short / min(width, height))
    return int(width * factor + 0.5), int(height * factor + 0.5)
