# UPerNet on ManifoldViT-S and the stock key; a simple feature pyramid makes the four scales.
_base_ = './upernet_swin-t.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mkbackbones.ManifoldViT',
        arch='small',
        drop_path_rate=0.1,
    ),
    neck=dict(
        type='mkbackbones.SimpleFeaturePyramid', in_channels=384, out_channels=256, num_outs=4
    ),
    decode_head=dict(in_channels=[256, 256, 256, 256]),
    auxiliary_head=dict(in_channels=256),
)
