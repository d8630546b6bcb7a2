# Mask R-CNN on ManifoldSwin-T with the stock key, COCO, 36 epochs (3x), multi-scale.
_base_ = [
    '../_base_/models/mask-rcnn.py',
    '../_base_/datasets/coco-instances-multi-scale.py',
    '../_base_/schedules/coco_3x.py',
    '../_base_/runtime_detection_epochs.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='timm://swin_tiny_patch4_window7_224.ms_in1k')
    ),
    roi_head=dict(
        bbox_head=dict(num_classes={{_base_.num_classes}}),
        mask_head=dict(num_classes={{_base_.num_classes}}),
    ),
)
