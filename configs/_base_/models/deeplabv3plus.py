# DeepLabV3+'s head on ManifoldSwin-T and the stock key. The last map is at stride 32, where a
# dilated ResNet has 8 or 16: the dilations are halved once more, and reach as far in pixels.
_base_ = './upernet.py'
model = dict(
    # Only the stages that the heads read: others would have parameters without a gradient.
    backbone=dict(out_indices=(0, 2, 3)),
    decode_head=dict(
        _delete_=True,
        type='DepthwiseSeparableASPPHead',
        in_channels=768,
        in_index=2,
        channels=512,
        dilations=(1, 3, 6, 9),
        c1_in_channels=96,
        c1_channels=48,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg={{_base_.norm_cfg}},
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(in_index=1),
)
