# DeepLabV3+ on ManifoldViT-S with the stock key, ADE20K, 160,000 iterations.
_base_ = ['./deeplabv3plus_swin-t-stock_ade20k.py', '../_base_/backbones/vit-s_p2-p4.py']
model = dict(
    backbone={{_base_.pretrained_vit}},
    neck={{_base_.pyramid}},
    decode_head=dict(in_channels=256, in_index=2, c1_in_channels=256, dilations=(1, 6, 12, 18)),
    auxiliary_head=dict(in_channels=256, in_index=1),
)
