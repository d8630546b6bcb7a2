# Faster R-CNN on ManifoldViT-S with the stock key, NEU-DET.
_base_ = [
    '../_base_/models/faster-rcnn_vit-s.py',
    '../_base_/datasets/neu-det.py',
    '../_base_/schedules/adamw_12k.py',
    '../_base_/runtime_detection.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=6)))
