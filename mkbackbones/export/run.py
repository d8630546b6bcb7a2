"""An exported file on pictures, in onnxruntime: what a consumer does, for checks and tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .preparation import resized_size

__all__ = ['ExportedModel']


class ExportedModel:
    """A file of :func:`mkbackbones.export.model.export_model`.

    Args:
        path (Path): The file.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )
        found = self.session.get_modelmeta().custom_metadata_map
        self.notes: dict[str, Any] = {name: json.loads(value) for name, value in found.items()}

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

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, of inputs by name."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(None, inputs)))
