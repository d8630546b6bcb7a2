"""Detection and segmentation projects that train in a second: tiny models, six images on disk."""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn

SIZE = 64
#: mmdet's and mmseg's own Swin, in miniature.
STOCK_SWIN = dict(
    type='SwinTransformer', embed_dims=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2),
    window_size=4, drop_path_rate=0.3,
)  # fmt: skip
MANIFOLD_SWIN = dict(
    type='mkbackbones.ManifoldSwin',
    arch=dict(embed_dims=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2)),
    window_size=4, drop_path_rate=0.3,
)  # fmt: skip
RUNTIME = dict(
    default_hooks=dict(
        logger=dict(type='LoggerHook', interval=1),
        checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=3),
    ),
    optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05)),
    randomness=dict(seed=3),
    log_level='ERROR',
)


def write_images(folder: Path) -> Path:
    """Six noise images with bright squares, as COCO instances and as class maps."""
    rng = np.random.default_rng(0)
    for name in ('img', 'map'):
        (folder / name).mkdir(parents=True)
    coco = dict(images=[], annotations=[], categories=[dict(id=1, name='square')])
    for i in range(6):
        image = rng.integers(0, 128, (SIZE, SIZE, 3), dtype=np.uint8)
        x, y = map(int, rng.integers(4, 28, 2))
        side = int(rng.integers(16, 30))
        image[y : y + side, x : x + side] += 100
        class_map = np.zeros((SIZE, SIZE), np.uint8)
        class_map[y : y + side, x : x + side] = 1
        cv2.imwrite(str(folder / f'img/{i}.png'), image)
        cv2.imwrite(str(folder / f'map/{i}.png'), class_map)
        coco['images'].append(dict(id=i, file_name=f'{i}.png', height=SIZE, width=SIZE))
        box = dict(bbox=[x, y, side, side], area=side * side, iscrowd=0)
        coco['annotations'].append(dict(id=i, image_id=i, category_id=1, **box))
    (folder / 'coco.json').write_text(json.dumps(coco))
    return folder


def faster_rcnn(backbone):
    coder = dict(type='DeltaXYWHBBoxCoder')
    assigner = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0)
    sampler = dict(type='RandomSampler', num=16, pos_fraction=0.25, add_gt_as_proposals=True)
    proposals = dict(nms_pre=50, max_per_img=20, nms=dict(type='nms', iou_threshold=0.7))
    return dict(
        type='FasterRCNN',
        data_preprocessor=dict(type='DetDataPreprocessor', mean=[60.0] * 3, std=[40.0] * 3),
        backbone=backbone,
        neck=dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=8, num_outs=4),
        rpn_head=dict(
            type='RPNHead', in_channels=8, feat_channels=8, bbox_coder=coder,
            anchor_generator=dict(
                type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[4, 8, 16, 32]
            ),
        ),
        roi_head=dict(
            type='StandardRoIHead',
            bbox_roi_extractor=dict(
                type='SingleRoIExtractor', out_channels=8, featmap_strides=[4, 8, 16, 32],
                roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
            ),
            bbox_head=dict(
                type='Shared2FCBBoxHead', in_channels=8, fc_out_channels=16, num_classes=1,
                bbox_coder=coder,
            ),
        ),
        train_cfg=dict(
            rpn=dict(
                assigner=assigner, sampler=dict(sampler, add_gt_as_proposals=False),
                allowed_border=-1, pos_weight=-1,
            ),
            rpn_proposal=proposals,
            rcnn=dict(assigner=assigner, sampler=sampler, pos_weight=-1),
        ),
        test_cfg=dict(
            rpn=proposals,
            rcnn=dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=10),
        ),
    )  # fmt: skip


def segmentor(backbone, channels=64):
    return dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor', mean=[60.0] * 3, std=[40.0] * 3, size=(SIZE, SIZE),
            seg_pad_val=255,
        ),
        backbone=backbone,
        decode_head=dict(
            type='FCNHead', in_channels=channels, in_index=-1, channels=8, num_convs=1,
            num_classes=2, dropout_ratio=0.1, norm_cfg=dict(type='BN'),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )  # fmt: skip


def detection_config(images, work_dir, backbone, max_iters=2, **changes):
    """An mmdet config; ``changes`` are merged into it."""
    dataset = dict(
        type='CocoDataset', data_root=str(images), ann_file='coco.json',
        data_prefix=dict(img='img/'), metainfo=dict(classes=('square',)),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(
                type='RandomChoiceResize', scales=[(64, 64), (96, 96), (80, 80)], keep_ratio=True
            ),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ],
    )  # fmt: skip
    config = dict(
        default_scope='mmdet',
        model=faster_rcnn(backbone),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters),
        train_dataloader=loader(dataset),
        work_dir=str(work_dir),
        **RUNTIME,
    )
    return merged(config, changes)


def segmentation_config(images, work_dir, backbone, channels=64, max_iters=2, **changes):
    """An mmseg config; ``changes`` are merged into it."""
    dataset = dict(
        type='BaseSegDataset', data_root=str(images), img_suffix='.png', seg_map_suffix='.png',
        data_prefix=dict(img_path='img', seg_map_path='map'),
        metainfo=dict(classes=('background', 'square'), palette=[[0, 0, 0], [255, 0, 0]]),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
    )  # fmt: skip
    config = dict(
        default_scope='mmseg',
        model=segmentor(backbone, channels),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters),
        train_dataloader=loader(dataset),
        work_dir=str(work_dir),
        **RUNTIME,
    )
    return merged(config, changes)


def loader(dataset):
    return dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='InfiniteSampler', shuffle=True),
        dataset=dataset,
    )


def evaluation(config, images):
    """Loader and metric for images beside those that a config trains on."""
    dataset = config.train_dataloader.dataset.to_dict()
    is_det = config.default_scope == 'mmdet'
    pipeline = [step for step in dataset['pipeline'] if 'Random' not in step['type']]
    pipeline.insert(1, dict(type='Resize', scale=(SIZE, SIZE)))
    meta = ('img_path', 'ori_shape', 'img_shape', 'scale_factor')
    pipeline[-1]['meta_keys'] = ('img_id', *meta) if is_det else meta
    dataset.update(
        data_root=str(images), pipeline=pipeline, **(dict(test_mode=True) if is_det else {})
    )
    loader = dict(batch_size=1, num_workers=0, dataset=dataset)
    loader['sampler'] = dict(type='DefaultSampler', shuffle=False)
    if is_det:
        return loader, dict(type='CocoMetric', metric='bbox', ann_file=str(images / 'coco.json'))
    return loader, dict(type='IoUMetric', iou_metrics=['mIoU'])


def write_project(config, folder, images, touch=None):
    """What a training leaves, ``config.py`` and ``trained.pth``; the model and the config.

    Args:
        config: From one of the functions above.
        folder: Where the files go.
        images: Folders of images to validate and test with, by split.
        touch: Told the model before its weights are kept.
    """
    config.custom_imports = dict(imports=['mkbackbones'])
    for split, place in images.items():
        config[f'{split}_dataloader'], config[f'{split}_evaluator'] = evaluation(config, place)
        config[f'{split}_cfg'] = dict(type=f'{split.capitalize()}Loop')
    config = Config(config.to_dict())
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model)
    if touch is not None:
        touch(model)
    config.dump(str(folder / 'config.py'))
    torch.save({'state_dict': model.state_dict()}, folder / 'trained.pth')
    return model.eval(), config


def let_charts_count(model):
    """Give keys, queries and values weights with which charts change what a model finds."""
    for name, parameter in model.named_parameters():
        if '.key.' in name or '.qv.weight' in name:
            nn.init.normal_(parameter, std=0.3)


def merged(config, changes):
    config = Config(config)
    config.merge_from_dict(changes)
    return config


def train(config) -> Runner:
    """Train; the losses of each iteration are in ``runner.losses``."""
    config.experiment_name = f'tiny_{train.count}'
    train.count += 1
    runner = Runner.from_cfg(config)
    runner.losses = []
    after = runner.model.train_step

    def train_step(*args, **kwargs):
        log_vars = after(*args, **kwargs)
        runner.losses.append({name: float(value) for name, value in log_vars.items()})
        return log_vars

    runner.model.train_step = train_step
    runner.train()
    # Ends the workers now, not in some other test, which would wait 5 s for each.
    runner.train_loop.dataloader_iterator = None
    if getattr(runner.train_dataloader, '_iterator', None) is not None:  # persistent ones
        runner.train_dataloader._iterator._shutdown_workers()
        runner.train_dataloader._iterator = None
    return runner


train.count = 0
