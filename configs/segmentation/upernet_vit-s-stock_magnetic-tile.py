# UPerNet on ManifoldViT-S with the stock key, magnetic tiles.
_base_ = ['./upernet_swin-t-stock_magnetic-tile.py', '../_base_/backbones/vit-s_p2-p5.py']
model = dict(
    backbone={{_base_.vit}},
    neck={{_base_.pyramid}},
    decode_head=dict(in_channels=[256, 256, 256, 256]),
    auxiliary_head=dict(in_channels=256),
)
