# RetinaNet on ManifoldSwin-T with the stock key, COCO, 12 epochs (1x).
_base_ = [
    '../_base_/models/retinanet.py',
    '../_base_/datasets/coco.py',
    '../_base_/schedules/coco_1x.py',
    '../_base_/runtime_detection_epochs.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='timm://swin_tiny_patch4_window7_224.ms_in1k')
    ),
    bbox_head=dict(num_classes={{_base_.num_classes}}),
)
