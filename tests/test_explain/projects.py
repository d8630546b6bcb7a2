"""Tiny detectors, segmentors and classifiers in which charts count, as configs and checkpoints."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mkbackbones.registry import MODELS

from ..test_engine.tiny import (
    MANIFOLD_SWIN,
    STOCK_SWIN,
    detection_config,
    evaluation,
    segmentation_config,
    write_images,
)
from ..test_inject.trees import disturb_keys

KUA = dict(type='KUA', num_charts=3)
SWIN = dict(MANIFOLD_SWIN, key_cfg=KUA)
VIT = dict(
    type='mkbackbones.ManifoldViT',
    arch=dict(embed_dims=64, depth=4, num_heads=2),
    patch_size=8,
    key_cfg=dict(type='SpatialK', num_charts=2),
)
WRAPPED = dict(type='mkbackbones.ManifoldKeyBackbone', backbone=STOCK_SWIN, key_cfg=KUA)
TRANSFORMS = [
    dict(type='Resize', size=48, antialias=True),
    dict(type='CenterCrop', size=32),
]


def write_project(folder: Path, kind: str, backbone: dict, more: dict | None = None):
    """Write ``my_config.py``, ``epoch_12.pth`` and ``pictures/a.png``; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    build = dict(
        detection=detection_project, segmentation=segmentation_project, classifier=classifier
    )
    cfg = build[kind](folder, backbone)
    cfg.custom_imports = dict(imports=['mkbackbones'])
    cfg.merge_from_dict(more or {})
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        model = MODELS.build(cfg.model)
    for name, parameter in model.backbone.named_parameters():
        if 'weight' in name and 'norm' not in name:
            nn.init.normal_(parameter, std=0.2)
    disturb_keys(model)
    cfg.dump(str(folder / 'my_config.py'))
    torch.save({'state_dict': model.state_dict()}, folder / 'epoch_12.pth')
    pixels = np.random.default_rng(0).integers(0, 128, (60, 90, 3), dtype=np.uint8)
    pixels[20:40, 50:80] += 100
    (folder / 'pictures').mkdir(exist_ok=True)
    cv2.imwrite(str(folder / 'pictures/a.png'), pixels)
    return [str(folder / name) for name in ('my_config.py', 'epoch_12.pth', 'pictures/a.png')]


def detection_project(folder, backbone):
    images = write_images(folder / 'images') if not (folder / 'images').is_dir() else None
    images = images or folder / 'images'
    cfg = detection_config(images, folder / 'work', backbone)
    cfg.test_dataloader, cfg.test_evaluator = evaluation(cfg, images)
    if 'Swin' not in str(backbone):
        cfg.model.neck = dict(
            type='mkbackbones.SimpleFeaturePyramid', in_channels=64, out_channels=8, num_outs=4
        )
    return cfg


def segmentation_project(folder, backbone):
    images = folder / 'images'
    if not images.is_dir():
        write_images(images)
    cfg = segmentation_config(images, folder / 'work', backbone)
    cfg.test_dataloader, cfg.test_evaluator = evaluation(cfg, images)
    return cfg


def classifier(folder, backbone):
    dataset = dict(
        type='mkbackbones.ImageFolder', data_root=str(folder), split='test', transforms=TRANSFORMS
    )
    return Config(
        dict(
            model=dict(
                type='mkbackbones.ImageClassifier',
                backbone=backbone,
                num_classes=2,
                in_channels=64,
            ),
            test_dataloader=dict(batch_size=1, dataset=dataset),
        )
    )
