# Class maps of your own set: UPerNet on ManifoldSwin with the stock key. Edit settings.py.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/schedules/adamw_12k.py',
    '../_base_/runtime_segmentation.py',
    '../_base_/datasets/own-semantic.py',
]
model = dict(
    backbone={{_base_.backbone}},
    decode_head=dict(in_channels={{_base_.channels}}, num_classes={{_base_.num_classes}}),
    auxiliary_head=dict(
        in_channels={{_base_.auxiliary_channels}}, num_classes={{_base_.num_classes}}
    ),
)
train_cfg = {{_base_.loop}}
param_scheduler = {{_base_.schedule}}
