# SegFormer's head on ManifoldSwin-T with the stock key, ADE20K, 160,000 iterations.
_base_ = [
    '../_base_/models/segformer.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_160k.py',
    '../_base_/runtime_segmentation.py',
]
model = dict(
    data_preprocessor=dict(size=(512, 512), size_divisor=None),
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='timm://swin_tiny_patch4_window7_224.ms_in1k')
    ),
    decode_head=dict(num_classes={{_base_.num_classes}}),
)
# As in SegFormer's own configs, the head learns ten times as fast.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'decode_head': dict(lr_mult=10.0)}))
