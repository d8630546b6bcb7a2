# RTMDet on ManifoldSwin-T with the stock key, NEU-DET.
_base_ = [
    '../_base_/models/rtmdet.py',
    '../_base_/datasets/neu-det.py',
    '../_base_/schedules/adamw_12k.py',
    '../_base_/runtime_detection.py',
]
model = dict(bbox_head=dict(num_classes={{_base_.num_classes}}))
# The levels share their convolutions, which belong into one parameter group.
optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True))
