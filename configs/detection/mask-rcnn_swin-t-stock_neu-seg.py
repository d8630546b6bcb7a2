# Mask R-CNN on ManifoldSwin-T with the stock key, NEU-Seg.
_base_ = [
    '../_base_/models/mask-rcnn.py',
    '../_base_/datasets/neu-seg-instances.py',
    '../_base_/schedules/adamw_12k.py',
    '../_base_/runtime_detection.py',
]
model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes={{_base_.num_classes}}),
        mask_head=dict(num_classes={{_base_.num_classes}}),
    ),
)
