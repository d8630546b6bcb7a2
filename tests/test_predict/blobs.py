"""A detector and a segmentor that find bright blobs without training, so that truth is known."""

from pathlib import Path

import cv2
import numpy as np
import torch

MODULE = """
import numpy as np
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS as DETECTORS
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmengine.structures import InstanceData, PixelData
from mmseg.registry import MODELS as SEGMENTORS
from scipy import ndimage


class Blobs(BaseModel):
    batches = []  # their sizes

    def __init__(self, num_classes=2, **unused):
        super().__init__()
        self.layer = torch.nn.Linear(num_classes, 1)

    def forward(self, inputs, data_samples=None, mode='predict'):
        self.batches.append(len(inputs))
        return [self.find(*one) for one in zip(inputs, data_samples)]


@DETECTORS.register_module()
class BlobDetector(Blobs):
    # Red blobs are of class 0, the others of class 1; the score is the brightness.
    def __init__(self, with_masks=True, **kwargs):
        super().__init__(**kwargs)
        self.with_masks = with_masks

    def find(self, image, sample):
        pixels = image.cpu().numpy()
        labels, count = ndimage.label(pixels.max(0) > 100)
        found = ndimage.find_objects(labels)
        boxes = [(s[1].start, s[0].start, s[1].stop, s[0].stop) for s in found]
        masks = [labels == i + 1 for i in range(count)]
        instances = InstanceData(
            bboxes=torch.tensor(boxes, dtype=torch.float).reshape(-1, 4),
            scores=torch.tensor([pixels[:, m].max() / 255 for m in masks], dtype=torch.float),
            labels=torch.tensor([int(pixels[0][m].max() > 100) for m in masks], dtype=torch.long),
        )
        if self.with_masks:
            instances.masks = torch.from_numpy(np.array(masks, bool).reshape(-1, *pixels.shape[1:]))
        sample.pred_instances = instances
        return sample


@SEGMENTORS.register_module()
class BlobSegmentor(Blobs):
    # Looks four pixels around each, so that the borders of a tile matter.
    def find(self, image, sample):
        grey = image.float().mean(0)[None, None]
        grey = F.avg_pool2d(grey, 9, 1, 4, count_include_pad=False)[0, 0]
        logits = torch.stack([torch.zeros_like(grey), (grey - 90) / 20])
        sample.seg_logits = PixelData(data=logits)
        sample.pred_sem_seg = PixelData(data=logits.argmax(0, keepdim=True))
        return sample
"""
CONFIG = """
custom_imports = dict(imports=['mk_blobs'])
default_scope = {scope!r}
model = dict(type={model!r}{more})
test_dataloader = dict(
    batch_size=2,
    dataset=dict(
        type={dataset!r},
        metainfo=dict(classes={classes!r}, palette=[(0, 0, 0), (220, 20, 60)]),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type={pack!r}, meta_keys=('img_path', 'ori_shape', 'img_shape')),
        ],
    ),
)
"""


def write_blobs(folder: Path, kind: str = 'detection', more: str = '', classes=None) -> list[str]:
    """Write module, config and checkpoint; return the paths of the latter two."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'mk_blobs.py').write_text(MODULE)
    is_det = kind == 'detection'
    classes = classes or (('red', 'white') if is_det else ('background', 'blob'))
    text = CONFIG.format(
        scope='mmdet' if is_det else 'mmseg',
        model='BlobDetector' if is_det else 'BlobSegmentor',
        dataset='CocoDataset' if is_det else 'BaseSegDataset',
        pack='PackDetInputs' if is_det else 'PackSegInputs',
        classes=classes,
        more=more,
    )
    config, checkpoint = folder / f'mk_{kind}.py', folder / f'mk_{kind}.pth'
    config.write_text(text)
    state = {'layer.weight': torch.zeros(1, 2), 'layer.bias': torch.zeros(1)}
    meta = dict(dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=state, meta=meta), checkpoint)
    return [str(config), str(checkpoint)]


def picture(height: int, width: int, *blobs: tuple, seed: int = 0) -> np.ndarray:
    """BGR with blobs, each left, top, right, bottom, brightness[, whether it is red]."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 40, (height, width, 3), dtype=np.uint8)
    for left, top, right, bottom, value, *red in blobs:
        channels = slice(2, 3) if red and red[0] else slice(None)
        pixels[top:bottom, left:right, channels] = value
    return pixels


def write_pictures(folder: Path) -> Path:
    """Three pictures: two blobs, one, none."""
    folder.mkdir()
    content = {
        'a': picture(60, 80, (10, 10, 20, 30, 200), (40, 5, 70, 25, 250, True)),
        'b': picture(60, 80, (30, 30, 50, 40, 128)),
        'c': picture(50, 50),
    }
    for name, pixels in content.items():
        cv2.imwrite(str(folder / f'{name}.png'), pixels)
    return folder
