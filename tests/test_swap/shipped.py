"""Configs that mmdet and mmseg ship, made small, and a training step of any of them."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope

SWIN = dict(
    type='mkbackbones.ManifoldSwin',
    arch=dict(embed_dims=16, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 4)),
    key_cfg=dict(type='SpatialK', num_charts=2),
    drop_path_rate=0.0,
)
SWIN_V2 = dict(SWIN, type='mkbackbones.ManifoldSwinV2')
VIT = dict(
    type='mkbackbones.ManifoldViT',
    arch=dict(embed_dims=32, depth=2, num_heads=2),
    key_cfg=dict(type='VanillaK', num_charts=2),
    drop_path_rate=0.0,
)
DINOV3 = dict(
    VIT,
    type='mkbackbones.ManifoldDINOv3',
    arch=dict(embed_dims=32, depth=2, num_heads=2, swiglu=True),
    init_values=0.1,
)


def shipped_config(library: str, name: str) -> Config:
    """Read one of the library's own configs, without its data and weights."""
    package = __import__(library)
    return Config.fromfile(Path(package.__file__).parent / '.mim' / 'configs' / name)


def shrink(node: object) -> None:
    """Make what comes behind the backbone fast on a CPU: fewer proposals, no SyncBN."""
    if isinstance(node, ConfigDict):
        if node.get('type') == 'SyncBN':
            node.type = 'BN'
        for key in ('nms_pre', 'max_per_img', 'nms_post'):
            if isinstance(node.get(key), int):
                node[key] = min(node[key], 50)
        for value in node.values():
            shrink(value)
    elif isinstance(node, list | tuple):
        for value in node:
            shrink(value)


def build(cfg: Config) -> torch.nn.Module:
    """Build the model as a runner does."""
    shrink(cfg.model)
    cfg.model.pop('init_cfg', None)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model).train()
    # DETR's descendants leave this to init_weights, which would fetch pretrained weights; until
    # then it is memory as it was found, NaN at times.
    if hasattr(model, 'level_embed'):
        torch.nn.init.normal_(model.level_embed)
    return model


def detection_batch(model: torch.nn.Module, size: tuple[int, int]) -> dict:
    """Two images with two objects each, boxes and masks, preprocessed."""
    from mmdet.testing import demo_mm_inputs

    np.random.seed(0)  # noqa: NPY002 - mmdet draws the class map from the global generator
    return demo_mm_inputs(
        2, [(3, *size)] * 2, num_items=[2, 2], num_classes=5, with_mask=True, with_semantic=True
    )


def segmentation_batch(model: torch.nn.Module, size: tuple[int, int]) -> dict:
    """Two images with class maps of five classes."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    generator = torch.Generator().manual_seed(0)
    images, samples = [], []
    for _ in range(2):
        images.append(torch.randint(0, 255, (3, *size), generator=generator, dtype=torch.uint8))
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
        labels = torch.randint(0, 5, (1, *size), generator=generator)
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)


def train_step(cfg: Config, size: tuple[int, int] = (96, 128)) -> torch.nn.Module:
    """Forward, loss and backward of a config's model; returns the model with its gradients."""
    model = build(cfg)
    batch = {'mmdet': detection_batch, 'mmseg': segmentation_batch}[cfg.default_scope](model, size)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        data = model.data_preprocessor(batch, training=True)
        losses = model(**data, mode='loss')
        loss, _ = model.parse_losses(losses)
    assert torch.isfinite(loss)
    loss.backward()
    return model
