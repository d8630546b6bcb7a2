# UPerNet on ManifoldDINOv3-S with the stock key, NEU-Seg.
_base_ = ['./upernet_swin-t-stock_neu-seg.py', '../_base_/backbones/dinov3-s_p2-p5.py']
model = dict(
    backbone={{_base_.vit}},
    neck={{_base_.pyramid}},
    decode_head=dict(in_channels=[256, 256, 256, 256]),
    auxiliary_head=dict(in_channels=256),
)
