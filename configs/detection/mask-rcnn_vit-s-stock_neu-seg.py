# Mask R-CNN on ManifoldViT-S with the stock key, NEU-Seg instances.
_base_ = [
    '../_base_/models/mask-rcnn_vit-s.py',
    '../_base_/datasets/neu-seg-instances.py',
    '../_base_/schedules/adamw_12k.py',
    '../_base_/runtime_detection.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=3), mask_head=dict(num_classes=3)))
