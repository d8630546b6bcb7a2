# Mask R-CNN on ManifoldSwin-T with the stock key, synthetic defects.
_base_ = [
    '../_base_/models/mask-rcnn.py',
    '../_base_/datasets/synthetic-instances.py',
    '../_base_/schedules/adamw_12k.py',
    '../_base_/runtime_detection.py',
]
model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes={{_base_.num_classes}}),
        mask_head=dict(num_classes={{_base_.num_classes}}),
    ),
)
