from types import SimpleNamespace

import cv2
import numpy as np
import torch

from mkbackbones.engine.paint_segmentation import PaintSegmentationHook


class Sample(dict):
    __getattr__ = dict.__getitem__


def test_pictures_keep_the_background_and_the_name(tmp_path):
    image = np.full((8, 8, 3), 100, np.uint8)
    cv2.imwrite(str(tmp_path / '7.png'), image)
    truth, predicted = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
    truth[0, 0, 0], truth[0, 7, 7], predicted[0, 4, 4] = 1, 255, 1
    sample = Sample(
        img_path=str(tmp_path / '7.png'),
        gt_sem_seg=SimpleNamespace(data=truth.long()),
        pred_sem_seg=SimpleNamespace(data=predicted.long()),
    )
    meta = dict(classes=('background', 'dent'), palette=[(0, 0, 0), (200, 0, 50)])
    dataset = SimpleNamespace(metainfo=meta)
    runner = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset))
    PaintSegmentationHook(str(tmp_path / 'out')).after_test_iter(runner, 0, None, [sample])

    drawn = cv2.imread(str(tmp_path / 'out/7.png'))
    assert drawn.shape == (8, 16, 3)
    changed = np.argwhere((drawn != 100).any(axis=2)).tolist()
    assert changed == [[0, 0], [4, 12]]
    assert drawn[0, 0].tolist() == [75, 50, 150]  # OpenCV's order
