"""A trained model as a function of pictures."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..arguments import is_int
from ..datasets.fingerprint import fingerprint
from ..hints import did_you_mean
from ..runner.config_files import find_config, read_config
from ..runner.config_values import check_values
from ..runner.errors import InputError
from ..runner.preflight import check_cv2, check_scope
from .model import (
    check_count,
    classes_and_palette,
    kind_of,
    load_model,
    read_checkpoint,
    the_device,
    watch_overflow,
)
from .passes import Given, Outcome, Passes, scope_of
from .pictures import PictureError
from .preparation import Preparation, test_dataset
from .results import Prediction
from .tiles import Tiling

if TYPE_CHECKING:
    from mmengine.config import Config

    from ..backbones.base import Backbone
    from .passes import Piece

__all__ = ['Outcome', 'Precision', 'Predictor']

Precision = Literal['bf16', 'fp16']
_DTYPES = {'bf16': 'bfloat16', 'fp16': 'float16'}


class Predictor(Passes):
    """A detector or segmentor with its weights, called with pictures.

    Pictures are prepared by the config's test pipeline, so that scores are those of ``test``, and
    read as ``prepare-dataset`` would have written them. ::

        predictor = mkbackbones.Predictor('my_config.py', 'epoch_12.pth')
        for prediction in predictor(['a.png', 'b.png']):
            print(prediction.score, [instance.name for instance in prediction.instances])

    Args:
        config (str | PathLike | Config): A config, its path, or the name of a shipped one.
        checkpoint (str | PathLike): Path or URL of the weights.
        device (str): ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
        amp (str | None): Lower precision: ``bf16``, or ``fp16`` on a GPU. None is that of ``test``.
            On a GPU the backbone's passes are then recorded, for each shape that comes again.
        batch_size (int | None): Pictures, or tiles, of one size that go through the network
            together; None: as many as the config's test loader says.
        tile (int | None): Cut pictures that are larger, in pixels; each tile is prepared as a
            picture of its own.
        overlap (int): What neighbouring tiles share at least, in pixels.
        bit_depth (int): Used bits a channel of pictures that store 16: 12 for a 12-bit camera.
        trusted (bool): Load a checkpoint that holds more than data, which can run code.
        cfg_options (Sequence[str]): Overrides of the config, ``KEY=VALUE`` each.

    Raises:
        InputError: Something cannot work, in one sentence: a config that cannot be read, a
            checkpoint of other classes, a device that is not there.
    """

    def __init__(
        self,
        config: str | os.PathLike | Config,
        checkpoint: str | os.PathLike,
        *,
        device: str = 'auto',
        amp: Precision | None = None,
        batch_size: int | None = None,
        tile: int | None = None,
        overlap: int = 128,
        bit_depth: int = 16,
        trusted: bool = False,
        cfg_options: Sequence[str] = (),
    ) -> None:
        check_choices(amp, batch_size, bit_depth)
        tiling = None if tile is None else Tiling(tile, overlap)
        check_cv2()
        self.cfg = read(config, list(cfg_options))
        kind, library = kind_of(self.cfg), self.cfg.get('default_scope')
        self.device = the_device(device)
        if amp == 'fp16' and self.device.type == 'cpu':
            raise InputError('amp fp16 is for GPUs; take bf16 on a CPU')
        self.amp = amp
        dataset = test_dataset(self.cfg)
        self._checkpoint, self._bit_depth = os.fspath(checkpoint), bit_depth
        # Before it is built, which may put objects into it.
        parts = [self.cfg.model, self.cfg.get('data_preprocessor'), dataset]
        self._config_hash = fingerprint({'text': repr(parts)}, [])
        content = read_checkpoint(self._checkpoint, trusted)
        classes, self.palette = classes_and_palette(self.cfg, dataset, content, self._checkpoint)
        with scope_of(library):
            preparation = Preparation(self.cfg, bit_depth)
            model = load_model(self.cfg, content, self._checkpoint, self.device)
        check_count(model, classes)
        if amp == 'fp16' and hasattr(model, 'backbone'):
            watch_overflow(model)
        loader = self.cfg.get('test_dataloader') or {}
        count = batch_size or loader.get('batch_size') or 1
        super().__init__(model, kind, classes, preparation, library, count, tiling)
        self._recorded = record_passes(model) if amp is not None else None

    def settings(self) -> dict[str, Any]:
        """What predictions depend on, beside the pictures: hashes, and arguments by name."""
        path = Path(self._checkpoint)
        return dict(
            config=self._config_hash,
            checkpoint=fingerprint({}, [path]) if path.is_file() else self._checkpoint,
            tile=self.tiling and self.tiling.tile,
            overlap=self.tiling and self.tiling.overlap,
            amp=self.amp,
            bit_depth=self._bit_depth,
        )

    def __call__(self, images: Given | Iterable[Given]) -> list[Prediction]:
        """Predict pictures.

        Args:
            images (str | PathLike | np.ndarray | Iterable): Files, or pixels as OpenCV reads them:
                (height, width) grey or (height, width, 3) BGR, uint8. One, or several.

        Returns:
            list[Prediction]: One for each, in their order.

        Raises:
            PictureError: One cannot be read, or has another number of channels; it is named.
        """
        single = isinstance(images, str | os.PathLike | np.ndarray)
        given: Any = [images] if single else images
        predictions = []
        for outcome in self.outcomes(given):
            if outcome.prediction is None:
                raise PictureError(outcome.fault)
            predictions.append(outcome.prediction)
        return predictions

    def _step(self, batch: list[Piece]) -> list[Any]:
        import torch

        if self.amp is None:
            return super()._step(batch)
        with torch.autocast(self.device.type, dtype=getattr(torch, _DTYPES[self.amp])):
            try:
                return super()._step(batch)
            except torch.cuda.OutOfMemoryError:
                if self._recorded is not None:  # it needs what recordings keep
                    del self._recorded.forward
                    self._recorded = None
                raise


def record_passes(model: Any) -> Backbone | None:
    """Record the passes of a backbone of mkbackbones, and give it; heads run as ever."""
    from ..backbones.base import Backbone
    from ..recorded import RecordedForward

    backbone = getattr(model, 'backbone', None)
    if not isinstance(backbone, Backbone):
        return None
    backbone.forward = RecordedForward(backbone)  # type: ignore[method-assign]
    return backbone


def read(config: str | os.PathLike | Config, options: list[str]) -> Config:
    """Read and check a config, whatever stands for it."""
    if isinstance(config, str | os.PathLike):
        path = find_config(os.fspath(config))
        cfg = read_config(path, options)
    else:
        from ..runner.config_files import apply_options

        cfg = copy.deepcopy(config)  # models change theirs as they are built
        apply_options(cfg, options, 'cfg_options')
        path = Path(cfg.filename or 'given')
    check_scope(cfg, path)
    check_values(cfg)
    if not cfg.get('model'):
        raise InputError(f'config {path} has no model')
    return cfg


def check_choices(amp: Any, batch_size: Any, bit_depth: Any) -> None:
    """Raise InputError for a choice that is none."""
    if amp is not None and amp not in _DTYPES:
        raise InputError(f'amp {amp!r} is unknown; choose bf16 or fp16{did_you_mean(amp, _DTYPES)}')
    if batch_size is not None and not (is_int(batch_size) and batch_size >= 1):
        raise InputError(f'batch size {batch_size!r} has to be a whole number from 1')
    if not is_int(bit_depth) or not 8 < bit_depth <= 16:
        raise InputError(f'bit depth {bit_depth!r} has to be a whole number from 9 to 16')
