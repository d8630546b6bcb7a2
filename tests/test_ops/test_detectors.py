"""Small detectors of mmdet, end to end: losses, gradients and predictions."""

import pytest
import torch

pytest.importorskip('mmdet')

NORM = dict(type='BN', requires_grad=True)
PREPROCESSOR = dict(type='DetDataPreprocessor', pad_mask=True, pad_size_divisor=32)
FPN = dict(type='FPN', in_channels=[16, 32, 64, 128], out_channels=16, num_outs=5)
BOX_CODER = dict(type='DeltaXYWHBBoxCoder')
L1 = dict(type='L1Loss', loss_weight=1.0)
ASSIGNER = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0)
SAMPLER = dict(type='RandomSampler', num=32, pos_fraction=0.25, add_gt_as_proposals=True)


def backbone(**dcn):
    return dict(type='ResNet', depth=50, base_channels=4, norm_cfg=NORM, norm_eval=True, **dcn)


def retinanet():
    return dict(
        type='RetinaNet',
        data_preprocessor=PREPROCESSOR,
        backbone=backbone(
            dcn=dict(type='DCN', deform_groups=1, fallback_on_stride=False),
            stage_with_dcn=(False, False, False, True),
        ),
        neck=FPN,
        bbox_head=dict(
            type='RetinaHead',
            num_classes=3,
            in_channels=16,
            stacked_convs=1,
            feat_channels=16,
            anchor_generator=dict(
                type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[1.0],
                strides=[8, 16, 32, 64, 128],
            ),
            loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25),
            loss_bbox=L1,
        ),
        train_cfg=dict(
            assigner=ASSIGNER, sampler=dict(type='PseudoSampler'), allowed_border=-1, pos_weight=-1
        ),
        test_cfg=dict(
            nms_pre=100, score_thr=0.0, max_per_img=20, nms=dict(type='nms', iou_threshold=0.5)
        ),
    )  # fmt: skip


def retinanet_with_dyhead():
    """DyHead reads offsets of larger maps, see `as_read`."""
    dyhead = dict(
        type='DyHead', in_channels=16, out_channels=16, num_blocks=1, zero_init_offset=False
    )
    return dict(retinanet(), backbone=backbone(), neck=[FPN, dyhead])


def mask_rcnn():
    extractor = dict(
        type='SingleRoIExtractor', out_channels=16, featmap_strides=[4, 8, 16, 32],
        roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
    )  # fmt: skip
    proposals = dict(nms_pre=100, max_per_img=50, nms=dict(type='nms', iou_threshold=0.7))
    rcnn = dict(assigner=ASSIGNER, sampler=SAMPLER, mask_size=14, pos_weight=-1)
    return dict(
        type='MaskRCNN',
        data_preprocessor=PREPROCESSOR,
        backbone=backbone(
            dcn=dict(type='DCNv2', deform_groups=2, fallback_on_stride=False),
            stage_with_dcn=(False, False, False, True),
        ),
        neck=FPN,
        rpn_head=dict(
            type='RPNHead', in_channels=16, feat_channels=16,
            anchor_generator=dict(
                type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[4, 8, 16, 32, 64]
            ),
            bbox_coder=BOX_CODER, loss_bbox=L1,
        ),
        roi_head=dict(
            type='StandardRoIHead',
            bbox_roi_extractor=extractor,
            bbox_head=dict(
                type='Shared2FCBBoxHead', in_channels=16, fc_out_channels=16, num_classes=3,
                bbox_coder=BOX_CODER, loss_bbox=L1,
            ),
            mask_roi_extractor=extractor,
            mask_head=dict(
                type='FCNMaskHead', num_convs=1, in_channels=16, conv_out_channels=16,
                num_classes=3, upsample_cfg=dict(type='carafe', scale_factor=2),
            ),
        ),
        train_cfg=dict(
            rpn=dict(assigner=ASSIGNER, sampler=SAMPLER, allowed_border=-1, pos_weight=-1),
            rpn_proposal=proposals,
            rcnn=rcnn,
        ),
        test_cfg=dict(
            rpn=proposals,
            rcnn=dict(
                score_thr=0.0, max_per_img=20, mask_thr_binary=0.5,
                nms=dict(type='soft_nms', iou_threshold=0.5),
            ),
        ),
    )  # fmt: skip


def deformable_detr():
    attention = dict(embed_dims=16, num_heads=2, num_levels=2, num_points=2)
    ffn = dict(embed_dims=16, feedforward_channels=16)
    return dict(
        type='DeformableDETR',
        num_queries=10,
        num_feature_levels=2,
        with_box_refine=True,
        data_preprocessor=PREPROCESSOR,
        backbone=backbone(out_indices=(2, 3)),
        neck=dict(type='ChannelMapper', in_channels=[64, 128], kernel_size=1, out_channels=16),
        encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
        decoder=dict(
            num_layers=2,
            return_intermediate=True,
            post_norm_cfg=None,
            layer_cfg=dict(
                self_attn_cfg=dict(embed_dims=16, num_heads=2),
                cross_attn_cfg=attention,
                ffn_cfg=ffn,
            ),
        ),
        positional_encoding=dict(num_feats=8, normalize=True, offset=-0.5),
        bbox_head=dict(
            type='DeformableDETRHead',
            num_classes=3,
            embed_dims=16,
            sync_cls_avg_factor=True,
            loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25),
            loss_bbox=L1,
            loss_iou=dict(type='GIoULoss', loss_weight=2.0),
        ),
        train_cfg=dict(
            assigner=dict(
                type='HungarianAssigner',
                match_costs=[
                    dict(type='FocalLossCost', weight=2.0),
                    dict(type='BBoxL1Cost', weight=5.0),
                ],
            )
        ),
        test_cfg=dict(max_per_img=10),
    )


def batch(device):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    samples, images = [], []
    for seed, (height, width) in enumerate([(64, 96), (80, 64)]):
        generator = torch.Generator().manual_seed(seed)
        images.append(torch.randint(0, 255, (3, height, width), generator=generator).byte())
        boxes = torch.tensor([[5.0, 8, 40, 50], [20, 20, 60, 44]])
        masks = torch.zeros(2, height, width, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist()):
            mask[y1:y2, x1:x2] = 1
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0)
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=boxes,
            labels=torch.tensor([0, 2]),
            masks=BitmapMasks(masks.numpy(), height, width),
        )
        samples.append(sample.to(device))
    return dict(inputs=[image.to(device) for image in images], data_samples=samples)


@pytest.mark.parametrize(
    'config',
    [retinanet, retinanet_with_dyhead, mask_rcnn, deformable_detr],
    ids=lambda config: config.__name__,
)
@pytest.mark.parametrize('dtype', [None, torch.bfloat16], ids=['float32', 'bfloat16'])
def test_losses_gradients_and_predictions(mmcv_ops, config, dtype, device):
    import mmdet.models  # noqa: F401
    from mmdet.registry import MODELS
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(0)
        model = MODELS.build(ConfigDict(config()))
        if hasattr(model, 'level_embed'):  # uninitialised memory, which may hold anything
            torch.nn.init.normal_(model.level_embed)
        model = model.to(device).train()
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            data = model.data_preprocessor(batch(device), training=True)
            losses, log = model.parse_losses(model(**data, mode='loss'))
            assert all(value.isfinite() for value in log.values()), log
            losses.backward()
            grads = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
            assert all(g is None or g.isfinite().all() for g in grads.values())
            moved = sum(g is not None and bool(g.any()) for g in grads.values())
            assert moved > 0.8 * len(grads)

            model.eval()
            with torch.no_grad():
                data = model.data_preprocessor(batch(device), training=False)
                results = model(**data, mode='predict')
    for result in results:
        found = result.pred_instances
        assert 0 < len(found) <= 20
        assert found.scores.isfinite().all() and found.bboxes.isfinite().all()
        if config is mask_rcnn:
            assert found.masks.shape[1:] == result.ori_shape
