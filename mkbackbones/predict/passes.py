"""Pictures through a model of mmdet or mmseg, a window at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .batches import Halving, ahead, batched
from .findings import findings_of
from .pictures import PictureError
from .results import Prediction
from .tiles import Tiling, Window

if TYPE_CHECKING:
    from .model import Kind
    from .preparation import Preparation

__all__ = ['Given', 'Outcome', 'Passes', 'scope_of']

Given = str | os.PathLike | np.ndarray


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


class Passes:
    """Takes pictures through a model that is there, and puts together what its windows show.

    Args:
        model (nn.Module): A detector or segmentor, on its device and in evaluation mode.
        kind (Kind): What it is.
        classes (Sequence[str]): Names of its classes.
        preparation (Preparation): Reads and prepares pictures.
        library (str | None): In which types are looked up, a config's ``default_scope``.
        batch_size (int): Windows of one size that go through the model together.
        tiling (Tiling | None): How larger pictures are cut; None: not at all.
    """

    def __init__(
        self,
        model: Any,
        kind: Kind,
        classes: Sequence[str],
        preparation: Preparation,
        library: str | None,
        batch_size: int,
        tiling: Tiling | None = None,
    ) -> None:
        self.model, self.kind, self.classes = model, kind, tuple(classes)
        self.preparation, self.tiling = preparation, tiling
        self._library = library
        self._run = Halving(self._step, batch_size)

    @property
    def batch_size(self) -> int:
        """The most that goes through the network at once."""
        return self._run.size

    def outcomes(self, images: Iterable[Given]) -> Generator[Outcome, None, None]:
        """Predict one picture after the other; those that cannot be used are told.

        Args:
            images (Iterable): Files, or pixels as OpenCV reads them: (height, width) grey or
                (height, width, 3) BGR, uint8; taken as they are needed.

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
        with torch.no_grad(), self.scope():
            return list(self.model.test_step(data))

    def scope(self) -> contextlib.AbstractContextManager:
        """The library in which types are looked up."""
        return scope_of(self._library)


def scope_of(library: str | None) -> contextlib.AbstractContextManager:
    """A config's ``default_scope``, for a while."""
    from mmengine.registry import DefaultScope

    return DefaultScope.overwrite_default_scope(library)
