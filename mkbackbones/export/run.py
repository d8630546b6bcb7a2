"""An exported file on pictures: what a consumer does, for checks and tests."""

from __future__ import annotations

import contextlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..compat.programs import without_guards
from ..exported_files import NOTES, check_notes, is_program
from .preparation import resized_size

__all__ = ['Exported', 'ExportedModel', 'SavedProgram', 'open_exported']


class Exported(ABC):
    """A file of :func:`mkbackbones.export.model.export_model`.

    Args:
        notes (dict[str, Any]): What the file says of itself.
    """

    #: What runs it, in words.
    runner: str

    def __init__(self, notes: dict[str, Any]) -> None:
        self.notes = notes

    def resized(self, picture: np.ndarray) -> np.ndarray:
        """A picture (height, width, 3), uint8, BGR, as the file takes it."""
        import cv2

        height, width = picture.shape[:2]
        size = resized_size(self.notes['resize'], width, height)
        if self.notes['resize'] is None:
            return picture
        return cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)

    def __call__(self, pictures: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, for pictures of one size.

        Args:
            pictures (list[np.ndarray]): (height, width, 3), uint8, BGR.
        """
        images = np.stack([self.resized(picture) for picture in pictures])
        size = np.array(pictures[0].shape[:2], np.int64)
        return self.run(dict(images=images, size=size))

    @property
    @abstractmethod
    def outputs(self) -> list[str]:
        """Names of what comes out."""

    @abstractmethod
    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, of inputs by name."""


class ExportedModel(Exported):
    """An ONNX file in onnxruntime.

    Args:
        path (Path): The file.
    """

    runner = 'onnxruntime'

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )
        found = self.session.get_modelmeta().custom_metadata_map
        super().__init__({name: json.loads(value) for name, value in found.items()})

    @property
    def outputs(self) -> list[str]:
        return [output.name for output in self.session.get_outputs()]

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, self.session.run(None, inputs)))


class SavedProgram(Exported):
    """A ``torch.export`` program that was saved.

    Args:
        path (Path): The file.

    Raises:
        ValueError: It is no program, or one that export has not written.
    """

    runner = 'torch'

    def __init__(self, path: Path) -> None:
        import torch

        from . import operators  # noqa: F401 - registers those that a detector has

        check_notes(path)
        texts = {NOTES: ''}
        with open(path, 'rb') as file, data_alone():
            program: Any = torch.export.load(file, extra_files=texts)
        self.module = without_guards(program)
        super().__init__(json.loads(texts[NOTES]))

    @property
    def outputs(self) -> list[str]:
        return list(self.notes['outputs'])

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        import torch

        with torch.no_grad():
            outputs = self.module(*(torch.from_numpy(inputs[name]) for name in ('images', 'size')))
        return {name: one.numpy() for name, one in zip(self.outputs, outputs)}


def open_exported(path: Path) -> Exported:
    """A file as its name says what it is.

    Args:
        path (Path): The file; what is wrong with it, its library says.
    """
    return SavedProgram(path) if is_program(path) else ExportedModel(path)


@contextlib.contextmanager
def data_alone() -> Iterator[None]:
    """Let torch refuse a file that would run code as it is read, which it else takes."""
    never, always = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
    former = {name: os.environ.pop(name, None) for name in (never, always)}
    os.environ[always] = '1'
    try:
        yield
    finally:
        del os.environ[always]
        os.environ.update({name: value for name, value in former.items() if value is not None})
