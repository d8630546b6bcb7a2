# SegFormer's head on ManifoldSwin-T with the stock key, NEU-Seg.
_base_ = [
    '../_base_/models/segformer.py',
    '../_base_/datasets/neu-seg.py',
    '../_base_/schedules/adamw_12k.py',
    '../_base_/runtime_segmentation.py',
]
model = dict(decode_head=dict(num_classes={{_base_.num_classes}}))
