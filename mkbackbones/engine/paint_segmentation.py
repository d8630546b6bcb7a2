"""Pictures of predicted class maps that leave the background as it is."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..datasets.palette import clear_classes
from ..registry import HOOKS

_OPACITY = 0.5


@HOOKS.register_module()
class PaintSegmentationHook(Hook):
    """Write a picture of each tested image: the truth to the left, the prediction to the right.

    ``default_hooks=dict(visualization=dict(type='mkbackbones.PaintSegmentationHook',
    folder=...))``. The files are called as the images, like those of mmdet's hook. mmseg's own
    hook blends the black of the background over the picture, and numbers its files.

    Args:
        folder (str): Where to write.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Write the pictures of a batch."""
        from .. import opencv as cv2

        meta = runner.test_dataloader.dataset.metainfo
        palette = np.array(meta['palette'], np.uint8)
        clear = clear_classes(meta['classes'], meta['palette'])
        os.makedirs(self._folder, exist_ok=True)
        for sample in outputs or ():
            image: Any = cv2.imdecode(np.fromfile(sample.img_path, np.uint8), cv2.IMREAD_COLOR)
            maps = [
                getattr(sample, key).data.squeeze(0).cpu().numpy()
                for key in ('gt_sem_seg', 'pred_sem_seg')
                if key in sample
            ]
            drawn = np.hstack([blend(image, seg_map, palette[:, ::-1], clear) for seg_map in maps])
            file = os.path.join(self._folder, os.path.basename(sample.img_path))
            cv2.imencode(os.path.splitext(file)[1], drawn)[1].tofile(file)


def blend(
    image: np.ndarray, seg_map: np.ndarray, palette: np.ndarray, clear: set[int]
) -> np.ndarray:
    """An image with the colours of a class map over it.

    Args:
        image (np.ndarray): (height, width, 3) uint8.
        seg_map (np.ndarray): (height, width), class index of each pixel.
        palette (np.ndarray): (classes, 3) uint8, channels in the order of ``image``.
        clear (set[int]): Classes that are not drawn.
    """
    shown = (seg_map < len(palette)) & ~np.isin(seg_map, list(clear))
    drawn = image.copy()
    colours = palette[seg_map[shown]]
    drawn[shown] = (image[shown] * (1 - _OPACITY) + colours * _OPACITY).round().astype(np.uint8)
    return drawn
