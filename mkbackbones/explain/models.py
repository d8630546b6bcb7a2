"""Trained models whose charts are looked at, and pictures as they take them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..attention.inject import manifold_layers
from ..keys import BasedKey
from ..predict.model import load_model, read_checkpoint, the_device
from ..predict.predictor import Predictor
from ..predict.results import Prediction
from ..runner.config_files import find_config, one_line, read_config
from ..runner.config_values import check_values
from ..runner.errors import InputError
from ..runner.preflight import check_cv2, check_scope, datasets_of

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ['Opened', 'Taken']


@dataclass
class Taken:
    """A picture as a network takes it.

    Args:
        picture (Image): The whole picture, RGB.
        inputs (Tensor): What the backbone takes, (1, 3, H, W).
        scale (tuple[float, float]): Pixels of the inputs for one of the picture, along x and y.
        offset (tuple[float, float]): Where the picture's corner lies in the inputs, x and y.
        prediction (Prediction | None): What the model finds; None for a classifier.
        said (str): What it says of the picture, in words.
    """

    picture: Image.Image
    inputs: Tensor
    scale: tuple[float, float]
    offset: tuple[float, float]
    prediction: Prediction | None
    said: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the inputs."""
        return self.inputs.shape[2], self.inputs.shape[3]

    def into(self, x: float, y: float) -> tuple[float, float]:
        """A point of the picture in pixels of the inputs."""
        return x * self.scale[0] + self.offset[0], y * self.scale[1] + self.offset[1]

    def canvas(self) -> Image.Image:
        """The picture as the inputs have it, black where they are padded."""
        (sx, sy), (ox, oy) = self.scale, self.offset
        height, width = self.size
        affine = (1 / sx, 0, -ox / sx, 0, 1 / sy, -oy / sy)
        resampling = Image.Resampling.BICUBIC
        return self.picture.transform((width, height), Image.Transform.AFFINE, affine, resampling)

    def cut(self, left: int, top: int, width: int, height: int) -> None:
        """Take a part of the inputs alone."""
        self.inputs = self.inputs[:, :, top : top + height, left : left + width]
        self.offset = self.offset[0] - left, self.offset[1] - top


class Opened:
    """A trained detector, segmentor or classifier with charts.

    Args:
        config (str): Path of a config, or the name of a shipped one.
        checkpoint (str): Path or URL of the weights.
        device (str): ``auto``, ``cpu``, ``cuda``.
        trusted (bool): Load a checkpoint that holds more than data, which can run code.
        cfg_options (Sequence[str]): Overrides of the config, ``KEY=VALUE`` each.

    Raises:
        InputError: Something cannot work, in one sentence; a model without charts, too.
    """

    def __init__(
        self,
        config: str,
        checkpoint: str,
        device: str = 'auto',
        trusted: bool = False,
        cfg_options: Sequence[str] = (),
    ) -> None:
        check_cv2()
        path = find_config(config)
        cfg = read_config(path, list(cfg_options))
        check_scope(cfg, path)
        check_values(cfg)
        self.predictor: Predictor | None = None
        self.classes: Sequence[str] = ()
        if cfg.get('default_scope') in ('mmdet', 'mmseg'):
            self.predictor = Predictor(cfg, checkpoint, device=device, trusted=trusted)
            self.model: Any = self.predictor.model
        else:
            self.open_classifier(cfg, path, checkpoint, device, trusted)
        require_charts(getattr(self.model, 'backbone', None), path)
        self.backbone: nn.Module = self.model.backbone

    def open_classifier(
        self, cfg: Any, path: Path, checkpoint: str, device: str, trusted: bool
    ) -> None:
        """Build a classifier on an image folder."""
        from mmengine.registry import DefaultScope

        from ..classification.image_folder import build_transforms

        if not cfg.get('model'):
            raise InputError(f'config {path} has no model')
        dataset = next(datasets_of(cfg, 'test_dataloader'), None)
        kind = '' if dataset is None else str(dataset.get('type')).rpartition('.')[2]
        if dataset is None or kind != 'ImageFolder':
            raise InputError(
                f'config {path} belongs to neither mmdet nor mmseg (default_scope), and its test '
                'set is no mkbackbones.ImageFolder: there is no way to prepare a picture'
            )
        content = read_checkpoint(checkpoint, trusted)
        meta = (content.get('meta') or {}).get('dataset_meta') or {}
        self.classes = tuple(map(str, meta.get('classes') or ()))
        try:
            self.transforms = build_transforms(
                [dict(one) for one in dataset.get('transforms') or []]
            )
        except (TypeError, ValueError) as error:
            raise InputError(f'transforms of config {path}: {one_line(error)}') from error
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            self.model = load_model(cfg, content, checkpoint, the_device(device))

    def take(self, path: Path) -> Taken:
        """Read a picture, prepare it, and let the model say what it is.

        Raises:
            PictureError: It cannot be used; it is named.
        """
        import torch

        with torch.no_grad():
            if self.predictor is None:
                return self.take_for_classifier(path)
            return self.take_for_predictor(self.predictor, path)

    def take_for_predictor(self, predictor: Predictor, path: Path) -> Taken:
        """As :meth:`take`, by mmdet's or mmseg's pipeline."""
        pixels = predictor.preparation.read(path)
        prediction = predictor(str(path))[0]
        with predictor.scope():
            item = predictor.preparation.prepare(pixels, str(path))
            data = dict(inputs=[item['inputs']], data_samples=[item['data_samples']])
            inputs = self.model.data_preprocessor(data, False)['inputs']
        height, width = pixels.shape[:2]
        meta = item['data_samples'].metainfo
        prepared = meta.get('img_shape') or item['inputs'].shape[1:]
        scale = meta.get('scale_factor') or (prepared[1] / width, prepared[0] / height)
        found = len(prediction.instances)
        said = f'{found} found, defect score {prediction.score:.2f}'
        picture = rgb(pixels)
        return Taken(
            picture, inputs, (float(scale[0]), float(scale[1])), (0.0, 0.0), prediction, said
        )

    def take_for_classifier(self, path: Path) -> Taken:
        """As :meth:`take`, by torchvision's transforms, which also carry a box from which it
        follows where pixels go."""
        import torch
        from torchvision import tv_tensors
        from torchvision.datasets.folder import default_loader

        from ..predict.pictures import PictureError

        try:
            picture = default_loader(str(path))
        except (OSError, SyntaxError, ValueError) as error:  # Pillow's, of damaged files
            raise PictureError(f'{path} cannot be read ({one_line(error)})') from error
        x, y = picture.width / 2, picture.height / 2
        size = picture.height, picture.width
        corners = torch.tensor([[x - 1, y - 1, x + 1, y + 1]], dtype=torch.float64)
        format_ = tv_tensors.BoundingBoxFormat.XYXY
        boxes: Any = tv_tensors.BoundingBoxes(corners, format=format_, canvas_size=size)
        image, boxes = self.transforms(picture, boxes)
        data = self.model.data_preprocessor(dict(inputs=[image]), False)
        inputs = data['inputs']
        left, top, right, bottom = boxes[0].tolist()
        scale = (right - left) / 2, (bottom - top) / 2
        offset = (left + right) / 2 - x * scale[0], (top + bottom) / 2 - y * scale[1]
        logits = self.model(inputs, mode='tensor')
        score, label = logits.float().softmax(-1)[0].max(0)
        number = int(label)
        name = self.classes[number] if number < len(self.classes) else f'class {number}'
        return Taken(picture, inputs, scale, offset, None, f'{name} with {float(score):.2f}')

    def slide(self, taken: Taken, point: tuple[float, float]) -> str:
        """Cut the inputs to the window in which a sliding segmentor sees a point most centrally.

        Returns:
            str: What was done, in words; nothing for models that see whole pictures.
        """
        test_cfg = getattr(self.model, 'test_cfg', None) or {}
        if test_cfg.get('mode') != 'slide':
            return ''
        height, width = taken.size
        x, y = taken.into(*point)
        crop, stride = test_cfg['crop_size'], test_cfg['stride']
        high, wide = min(crop[0], height), min(crop[1], width)
        top, left = start(y, height, high, stride[0]), start(x, width, wide, stride[1])
        if (high, wide) == (height, width):
            return ''
        taken.cut(left, top, wide, high)
        return f'the segmentor slides over the picture; this is its window of {wide}x{high} pixels'

    def scope(self) -> contextlib.AbstractContextManager:
        """The library in which types are looked up."""
        return contextlib.nullcontext() if self.predictor is None else self.predictor.scope()


def start(where: float, length: int, crop: int, stride: int) -> int:
    """Where mmseg's window begins in whose middle a point lies most nearly."""
    count = max(length - crop + stride - 1, 0) // stride + 1
    starts = [max(min(i * stride + crop, length) - crop, 0) for i in range(count)]
    holding = [s for s in starts if s <= where < s + crop] or starts
    return min(holding, key=lambda s: abs(s + crop / 2 - where))


def rgb(pixels: np.ndarray) -> Image.Image:
    """A picture of pixels as OpenCV reads them."""
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return Image.fromarray(pixels.reshape(pixels.shape[:2])).convert('RGB')
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 2::-1]))


def require_charts(backbone: Any, path: os.PathLike) -> None:
    """Raise InputError for a model in which there is nothing to see."""
    if backbone is None:
        raise InputError(f"the model of {path} has no part called 'backbone', so none with charts")
    layers = [backbone.get_submodule(name) for name in manifold_layers(backbone)]
    if not layers:
        raise InputError(
            f'the backbone of {path}, {type(backbone).__name__}, has stock keys alone (key_cfg is '
            'None): there are no charts to see; give a config and checkpoint that were trained '
            "with a key, e.g. key_cfg=dict(type='SpatialK')"
        )
    if not any(isinstance(layer.key, BasedKey) for layer in layers):
        kinds = ', '.join(sorted({type(layer.key).__name__ for layer in layers}))
        raise InputError(
            f'the keys of {path} ({kinds}) have no charts: there is nothing to see; keys with '
            f'charts are KUA, SimpleK, SpatialK and VanillaK'
        )
