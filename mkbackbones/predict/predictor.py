"""A trained model as a function of pictures."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
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
from .batches import Halving, ahead, batched
from .findings import findings_of
from .model import (
    check_count,
    classes_and_palette,
    kind_of,
    load_model,
    read_checkpoint,
    the_device,
    watch_overflow,
)
from .pictures import PictureError
from .preparation import Preparation, test_dataset
from .results import Prediction
from .tiles import Tiling, Window

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

__all__ = ['Outcome', 'Precision', 'Predictor']

Precision = Literal['bf16', 'fp16']
Given = str | os.PathLike | np.ndarray
_DTYPES = {'bf16': 'bfloat16', 'fp16': 'float16'}


@dataclass
class Outcome:
    """What has become of a picture.

    Args:
        prediction (Prediction | None): None where it could not be used.
        pixels (np.ndarray | None): The picture as the config reads it, (height, width[, channels]).
        fault (str): Why it could not be used, in a sentence.
    """

    prediction: Prediction | None = None
    pixels: np.ndarray | None = None
    fault: str = ''


@dataclass
class Piece:
    """A window of a picture on its way through the model, or why there is none."""

    given: Given
    windows: int = 0
    window: Window | None = None
    sample: dict[str, Any] | None = None
    pixels: np.ndarray | None = None
    fault: str = ''

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of what the network takes, (C, H, W)."""
        return None if self.sample is None else tuple(self.sample['inputs'].shape)


class Predictor:
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
        self.tiling = None if tile is None else Tiling(tile, overlap)
        check_cv2()
        self.cfg = read(config, list(cfg_options))
        self.kind = kind_of(self.cfg)
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
        self.classes, self.palette = classes_and_palette(
            self.cfg, dataset, content, self._checkpoint
        )
        with self.scope():
            self.preparation = Preparation(self.cfg, bit_depth)
            self.model: nn.Module = load_model(self.cfg, content, self._checkpoint, self.device)
        check_count(self.model, self.classes)
        if amp == 'fp16' and hasattr(self.model, 'backbone'):
            watch_overflow(self.model)
        loader = self.cfg.get('test_dataloader') or {}
        self._run = Halving(self._step, batch_size or loader.get('batch_size') or 1)

    @property
    def batch_size(self) -> int:
        """The most that goes through the network at once."""
        return self._run.size

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

    def outcomes(self, images: Iterable[Given]) -> Generator[Outcome, None, None]:
        """Predict one picture after the other; those that cannot be used are told.

        Args:
            images (Iterable): As in :meth:`__call__`; taken as they are needed.

        Yields:
            Outcome: One for each, in their order.
        """
        pieces = ahead(self._pieces(images), 2 * self.batch_size)
        findings = None
        seen = 0
        # Ends the thread with this generator.
        with contextlib.closing(pieces):
            for batch in batched(pieces, lambda: self.batch_size, lambda piece: piece.shape):
                if batch[0].fault:
                    findings = None
                    yield Outcome(fault=batch[0].fault)
                    continue
                for piece, sample in zip(batch, self._run(batch)):
                    pixels: Any = piece.pixels
                    window: Any = piece.window
                    if findings is None:
                        height, width = pixels.shape[:2]
                        path = None if isinstance(piece.given, np.ndarray) else str(piece.given)
                        findings = findings_of(self.kind)(path, width, height, self.classes)
                        seen = 0
                    findings.add(window, sample)
                    seen += 1
                    if seen == piece.windows:
                        yield Outcome(findings.prediction(), pixels)
                        findings = None

    def _pieces(self, images: Iterable[Given]) -> Iterator[Piece]:
        """What goes through the network, in order."""
        for number, given in enumerate(images):
            try:
                if isinstance(given, np.ndarray):
                    where, pixels = f'image {number}', self._given(given)
                else:
                    where, pixels = str(given), self.preparation.read(Path(given))
                height, width = pixels.shape[:2]
                windows = (
                    [Window(0, 0, width, height, (0, 0, width, height))]
                    if self.tiling is None
                    else self.tiling.windows(width, height)
                )
                for window in windows:
                    part = pixels if len(windows) == 1 else window.cut(pixels)
                    sample = self.preparation.prepare(part, where)
                    yield Piece(given, len(windows), window, sample, pixels)
            except PictureError as error:
                yield Piece(given, fault=str(error))

    def _given(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels of a caller's, grey ones with as many channels as a file would have.

        Raises:
            PictureError: They are none.
        """
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or not pixels.size:
            raise PictureError(
                f'an array of {pixels.dtype} {pixels.shape} is no picture: give (height, width) or '
                '(height, width, 3) uint8, BGR'
            )
        if pixels.ndim == 3 and pixels.shape[2] > 1:
            return pixels
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), self.preparation.channels, axis=2)

    def _step(self, batch: list[Piece]) -> list[Any]:
        """Samples of mmdet or mmseg with what the network says."""
        import torch

        samples = [piece.sample for piece in batch]
        data = {key: [sample[key] for sample in samples if sample] for key in samples[0] or {}}
        model: Any = self.model
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(self.scope())
            if self.amp is not None:
                dtype = getattr(torch, _DTYPES[self.amp])
                stack.enter_context(torch.autocast(self.device.type, dtype=dtype))
            return list(model.test_step(data))

    def scope(self) -> contextlib.AbstractContextManager:
        """The library in which types are looked up."""
        from mmengine.registry import DefaultScope

        return DefaultScope.overwrite_default_scope(self.cfg.get('default_scope'))


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
