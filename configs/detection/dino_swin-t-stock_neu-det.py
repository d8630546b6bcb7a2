# DINO on ManifoldSwin-T with the stock key, NEU-DET.
_base_ = [
    '../_base_/models/dino.py',
    '../_base_/datasets/neu-det.py',
    '../_base_/schedules/adamw_12k.py',
    '../_base_/runtime_detection.py',
]
model = dict(bbox_head=dict(num_classes={{_base_.num_classes}}))
# In float32: in mixed precision the head gives its boxes in bfloat16, off by a pixel and more.
optim_wrapper = dict(type='OptimWrapper')
