"""What an exported file is worth: the evaluator of a config on its validation images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel

from ..predict.evaluation import CLASS_SCORES, SCORE
from .run import open_exported

__all__ = ['FileModel', 'inputs_of', 'metrics']


class FileModel(BaseModel):
    """A file in the place of a model, for loops that evaluate.

    Args:
        path (Path): The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.exported = open_exported(path)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Not used: :meth:`val_step` is."""
        raise NotImplementedError

    def val_step(self, data: Any) -> list[Any]:
        """Samples of mmdet or mmseg with what the file finds in prepared pictures."""
        samples = list(data['data_samples'])
        for inputs, sample in zip(inputs_of(data), samples):
            put(self.exported.run(inputs), sample)
        return samples

    def test_step(self, data: Any) -> list[Any]:
        """The same, in pictures that are read and resized as whoever deploys the file does.

        Raises:
            FileNotFoundError: A picture cannot be read.
        """
        from .. import opencv as cv2

        samples = list(data['data_samples'])
        for sample in samples:
            picture = cv2.imread(sample.img_path)
            if picture is None:
                raise FileNotFoundError(f'failed to load image: {sample.img_path}')
            put(self.exported([picture]), sample)
        return samples


def put(outputs: dict[str, np.ndarray], sample: Any) -> None:
    """Give a sample of mmdet or mmseg what a file has found in its picture."""
    found = {name: value[0] for name, value in outputs.items()}
    sample.set_metainfo({SCORE: float(found['score'])})
    if 'class_scores' in found:
        sample.set_metainfo({CLASS_SCORES: found['class_scores'].tolist()})
    if 'class_map' in found:
        from mmengine.structures import PixelData

        class_map = torch.from_numpy(found['class_map'].astype(np.int64))
        sample.pred_sem_seg = PixelData(data=class_map[None])
        return
    from mmengine.structures import InstanceData

    kept = found['labels'] >= 0
    instances = InstanceData(
        bboxes=torch.from_numpy(found['boxes'][kept]),
        scores=torch.from_numpy(found['scores'][kept]),
        labels=torch.from_numpy(found['labels'][kept]),
    )
    if 'masks' in found:
        instances.masks = torch.from_numpy(found['masks'][kept])
    sample.pred_instances = instances


def inputs_of(data: Any) -> list[dict[str, np.ndarray]]:
    """Inputs of a file, picture by picture, out of a batch as ``val_step`` takes it."""
    found = []
    for pixels, sample in zip(data['inputs'], data['data_samples']):
        height, width = sample.ori_shape[:2]
        across, down = sample.metainfo.get('scale_factor', (1, 1))
        # Without what the pipeline pads, which the file does itself.
        resized = pixels[:, : round(height * down), : round(width * across)]
        images = np.ascontiguousarray(resized.permute(1, 2, 0).numpy())[None]
        found.append(dict(images=images, size=np.array([height, width], np.int64)))
    return found


def metrics(runner: Any, paths: Sequence[Path]) -> list[dict[str, float]]:
    """Metrics of files on the validation images of a runner's config.

    Args:
        runner (Runner): Its model is replaced.
        paths (Sequence[Path]): The files.
    """
    found = []
    for path in paths:
        runner.model = FileModel(path)
        found.append(runner.val())
    return found
