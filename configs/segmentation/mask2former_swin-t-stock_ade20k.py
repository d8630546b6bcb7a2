# Mask2Former on ManifoldSwin-T with the stock key, ADE20K, 160,000 iterations.
_base_ = [
    '../_base_/models/mask2former.py',
    '../_base_/datasets/ade20k-shortest-edge.py',
    '../_base_/schedules/ade20k_mask2former_160k.py',
    '../_base_/runtime_segmentation.py',
]
model = dict(
    data_preprocessor=dict(size=(512, 512), size_divisor=None),
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='timm://swin_tiny_patch4_window7_224.ms_in1k')
    ),
    decode_head=dict(
        num_classes={{_base_.num_classes}},
        loss_cls=dict(class_weight={{_base_.query_weights}}),
    ),
)
