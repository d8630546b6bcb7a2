# Boxes of your own set: Faster R-CNN on ManifoldSwin with the stock key. Edit settings.py.
_base_ = [
    '../_base_/models/faster-rcnn.py',
    '../_base_/schedules/adamw_12k.py',
    '../_base_/runtime_detection.py',
    '../_base_/datasets/own-boxes.py',
]
model = dict(
    backbone={{_base_.backbone}},
    neck=dict(in_channels={{_base_.channels}}),
    roi_head=dict(bbox_head=dict(num_classes={{_base_.num_classes}})),
)
train_cfg = {{_base_.loop}}
param_scheduler = {{_base_.schedule}}
