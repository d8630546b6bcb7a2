# DeepLabV3+ on ManifoldViT-S with the stock key, ADE20K, 160,000 iterations.
_base_ = ['./deeplabv3plus_swin-t-stock_ade20k.py', '../_base_/backbones/vit-s_p2-p5.py']
model = dict(
    backbone={{_base_.pretrained_vit}},
    neck={{_base_.pyramid}},
    decode_head=dict(in_channels=256, in_index=3, c1_in_channels=256),
    auxiliary_head=dict(in_channels=256, in_index=2),
)
