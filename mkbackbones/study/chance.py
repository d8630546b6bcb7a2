"""What a model scores that has learned nothing."""

from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image


def background_miou(cfg: Config) -> float:
    """mIoU, in per cent, of answering class 0 everywhere on the test split.

    Args:
        cfg (Config): An mmseg config whose test set is a ``BaseSegDataset``.

    Returns:
        float: IoU of class 0 over the number of classes that occur.
    """
    dataset = cfg.test_dataloader.dataset
    folder = Path(dataset.data_root) / dataset.data_prefix['seg_map_path']
    counts = np.zeros(256, dtype=np.int64)
    for path in folder.glob(f'*{dataset.seg_map_suffix}'):
        with Image.open(path) as image:
            counts += np.bincount(np.asarray(image).ravel(), minlength=256)
    num_classes = np.count_nonzero(counts[: len(dataset.metainfo['classes'])])
    return float(100 * counts[0] / counts.sum() / num_classes)
