"""Tiny detectors and segmentors with random weights that find much, on a backbone of four
convolutions: what is exported of a Swin is tested with the backbones."""

import re
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

MODULE = """
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS


@MODELS.register_module(force=True)
class FourConvs(BaseModule):
    # Maps of strides 4, 8, 16 and 32.
    def __init__(self, channels=8, out_indices=(0, 1, 2, 3)):
        super().__init__()
        sizes = [(3, 4), (channels, 2), (channels, 2), (channels, 2)]
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv2d(c, channels, 3, stride, 1) for c, stride in sizes
        )
        self.out_indices = out_indices

    def forward(self, x):
        maps = []
        for layer in self.layers:
            x = torch.nn.functional.gelu(layer(x))
            maps.append(x)
        return tuple(maps[i] for i in self.out_indices)
"""
ROOT = Path(__file__).parents[2] / 'configs/_base_/models'
DETECTOR = """
_base_ = {base!r}
custom_imports = dict(imports=['mk_tiny', 'mkbackbones'], allow_failed_imports=False)
default_scope = 'mmdet'
model = dict(
    backbone=dict(_delete_=True, type='mmengine.FourConvs', out_indices={out_indices}), {model})
test_dataloader = dict(dataset=dict(
    type='CocoDataset', metainfo=dict(classes=('crack', 'dent', 'pit')), data_root='nowhere',
    ann_file='none.json',
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(96, 64), keep_ratio=True),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs',
             meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
"""
SEGMENTOR = """
_base_ = {base!r}
custom_imports = dict(imports=['mk_tiny', 'mkbackbones'], allow_failed_imports=False)
default_scope = 'mmseg'
model = dict(backbone=dict(_delete_=True, type='mmengine.FourConvs'), {model})
test_dataloader = dict(dataset=dict(
    type='BaseSegDataset', metainfo=dict(classes=('background', 'crack', 'dent')),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(96, 64), keep_ratio=True),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs')]))
"""
DENSE = (
    'neck=dict(in_channels=[8, 8, 8], out_channels=8), bbox_head=dict(in_channels=8, '
    'feat_channels=8, stacked_convs=1, num_classes=3), test_cfg=dict(nms_pre=40, max_per_img=20)'
)
REGIONS = (
    'neck=dict(in_channels=[8, 8, 8, 8], out_channels=8), rpn_head=dict(in_channels=8, '
    'feat_channels=8), roi_head=dict(bbox_roi_extractor=dict(roi_extractor=dict(out_channels=8)), '
    'bbox_head=dict(in_channels=8, fc_out_channels=16, num_classes=3){mask}), test_cfg=dict('
    'rpn=dict(nms_pre=30, max_per_img=40), rcnn=dict(max_per_img=15))'
)
MASK = (
    ', mask_roi_extractor=dict(roi_extractor=dict(out_channels=8)), mask_head=dict(in_channels=8, '
    'conv_out_channels=8, num_convs=1, num_classes=3)'
)
GROUPS = "num_classes=3, norm_cfg=dict(type='GN', num_groups=2)"
HEAD = 'decode_head=dict(num_classes=3, in_channels=[8, 8, 8, 8], channels=8), '
STAGE = (
    "dict(type='Shared2FCBBoxHead', in_channels=8, fc_out_channels=16, roi_feat_size=7, "
    "num_classes=3, reg_class_agnostic={agnostic}, bbox_coder=dict(type='DeltaXYWHBBoxCoder', "
    'target_means=[0.0] * 4, target_stds=[{std}, {std}, {std}, {std}]))'
)
CASCADE = REGIONS.replace(
    'dict(in_channels=8, fc_out_channels=16, num_classes=3)',
    '['
    + ', '.join(
        STAGE.format(std=s, agnostic=a) for s, a in ((0.1, True), (0.05, False), (0.033, True))
    )
    + ']',
)


def on_fewer_levels(model: str) -> str:
    """Two maps and one that is made of them, where others have five: levels take the time."""
    model = re.sub(
        r'neck=dict\(in_channels=[^]]*\]', 'neck=dict(in_channels=[8, 8], num_outs=3', model
    )
    model = model.replace(
        'roi_extractor=dict(out', 'roi_extractor=dict(featmap_strides=[8, 16], out'
    )
    anchors = 'feat_channels=8, anchor_generator=dict(strides=[8, 16, 32])'
    return model.replace('feat_channels=8', anchors)


#: Base, what is tiny in it, and the stages that the neck reads.
KINDS = {
    'retinanet': ('retinanet', on_fewer_levels(DENSE), (1, 2)),
    'fcos': ('fcos', DENSE.replace('num_classes=3', GROUPS), (1, 2, 3)),
    'atss': ('atss', DENSE.replace('num_classes=3', GROUPS), (1, 2, 3)),
    'rtmdet': (
        'rtmdet',
        DENSE.replace('out_channels=8)', 'out_channels=8, num_csp_blocks=1, '
                      "norm_cfg=dict(num_groups=2))")
        .replace('num_classes=3)', 'num_classes=3, norm_cfg=dict(num_groups=2))'),
        (1, 2, 3),
    ),
    'faster-rcnn': ('faster-rcnn', on_fewer_levels(REGIONS.format(mask='')), (1, 2)),
    'mask-rcnn': ('mask-rcnn', on_fewer_levels(REGIONS.format(mask=MASK)), (1, 2)),
    'cascade-mask-rcnn': ('cascade-mask-rcnn', CASCADE.format(mask=MASK), (0, 1, 2, 3)),
    'dino': (
        'dino',
        'num_queries=30, neck=dict(in_channels=[8, 8, 8]), encoder=dict(num_layers=1), '
        'decoder=dict(num_layers=2), bbox_head=dict(num_classes=3), test_cfg=dict(max_per_img=20)',
        (1, 2, 3),
    ),
    'upernet': ('upernet', HEAD + 'auxiliary_head=None', ()),
    'segformer': ('segformer', HEAD, ()),
    'mask2former': (
        'mask2former',
        'decode_head=dict(num_classes=3, in_channels=[8, 8, 8, 8], num_queries=12, '
        'loss_cls=dict(class_weight=[1.0, 1.0, 1.0, 0.1]), pixel_decoder=dict('
        'encoder=dict(num_layers=1)), transformer_decoder=dict(num_layers=2))',
        (),
    ),
    'sem-fpn': (
        'sem-fpn',
        'neck=dict(in_channels=[8, 8, 8, 8], out_channels=8), decode_head=dict(num_classes=3, '
        'in_channels=[8, 8, 8, 8], channels=8)',
        (),
    ),
}  # fmt: skip
#: What makes random heads find something, times what they begin with.
SCORES = ('retina_cls', 'atss_cls', 'rtm_cls', 'conv_cls', 'fc_cls', 'rpn_cls')
LIVELY = {
    SCORES: 100,
    ('retina_reg', 'rpn_reg', 'fc_reg', 'conv_seg', 'atss_reg'): 30,
    ('cls_branches',): 1.5,
    ('cls_embed', 'mask_embed.4'): 5,
    ('layers.',): 2,
}


def write_model(folder: Path, kind: str) -> tuple[str, str]:
    """Write module, config and checkpoint; return the paths of the latter two.

    The folder has to be on Python's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'mk_tiny.py').write_text(MODULE)
    base, model, out_indices = KINDS[kind]
    text = DETECTOR if out_indices else SEGMENTOR
    config, checkpoint = folder / f'{kind}.py', folder / f'{kind}.pth'
    config.write_text(
        text.format(base=str(ROOT / f'{base}.py'), model=model, out_indices=out_indices)
    )
    cfg = Config.fromfile(config)
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        network = MODELS.build(cfg.model)
        network.init_weights()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith('bias') and any(part in name for part in SCORES):
                parameter.fill_(-1.0)
            for parts, factor in LIVELY.items():
                if name.endswith('weight') and any(part in name for part in parts):
                    parameter.mul_(factor)
                    break
    torch.save(dict(state_dict=network.state_dict(), meta=dict()), checkpoint)
    return str(config), str(checkpoint)


def write_pictures(folder: Path) -> Path:
    """Two pictures of one size, and an upright one that is smaller than what is asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate([(80, 130), (80, 130), (70, 50)]):
        coarse = rng.integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{i}.png'), cv2.resize(coarse, (width, height)))
    return folder
