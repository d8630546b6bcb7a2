# Faster R-CNN on ManifoldSwin-T with the stock key, synthetic defects.
_base_ = [
    '../_base_/models/faster-rcnn.py',
    '../_base_/datasets/synthetic-instances.py',
    '../_base_/schedules/adamw_12k.py',
    '../_base_/runtime_detection.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes={{_base_.num_classes}})))
# Masks are loaded with the data set, but this detector has boxes only.
val_evaluator = dict(metric='bbox')
test_evaluator = dict(metric='bbox')
