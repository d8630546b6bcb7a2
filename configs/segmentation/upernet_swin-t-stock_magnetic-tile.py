# UPerNet on ManifoldSwin-T with the stock key, magnetic tiles.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/magnetic-tile.py',
    '../_base_/schedules/adamw_12k.py',
    '../_base_/runtime_segmentation.py',
]
model = dict(
    decode_head=dict(num_classes={{_base_.num_classes}}),
    auxiliary_head=dict(num_classes={{_base_.num_classes}}),
)
