# RTMDet on ManifoldSwin-T with the stock key, COCO, 100 epochs.
_base_ = [
    '../_base_/models/rtmdet.py',
    '../_base_/datasets/coco-mosaic.py',
    '../_base_/schedules/coco_rtmdet_100ep.py',
    '../_base_/runtime_detection_epochs.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='timm://swin_tiny_patch4_window7_224.ms_in1k')
    ),
    bbox_head=dict(num_classes={{_base_.num_classes}}),
)
custom_hooks = [
    dict(type='mkbackbones.ExactResumeHook'),
    dict(type='mkbackbones.RecordBackboneHook'),
    dict(
        type='EMAHook',
        ema_type='ExpMomentumEMA',
        momentum=0.0002,
        update_buffers=True,
        priority=49,
    ),
    dict(
        type='PipelineSwitchHook',
        switch_epoch=90,
        switch_pipeline={{_base_.train_pipeline_stage2}},
    ),
]
