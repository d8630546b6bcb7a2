# DeepLabV3+ on ManifoldViT-S with the stock key, NEU-Seg.
_base_ = ['./deeplabv3plus_swin-t-stock_neu-seg.py', '../_base_/backbones/vit-s_p2-p4.py']
model = dict(
    backbone={{_base_.vit}},
    neck={{_base_.pyramid}},
    decode_head=dict(in_channels=256, in_index=2, c1_in_channels=256, dilations=(1, 6, 12, 18)),
    auxiliary_head=dict(in_channels=256, in_index=1),
)
