# SegFormer's head on ManifoldViT-S with the stock key, ADE20K, 160,000 iterations.
_base_ = ['./segformer_swin-t-stock_ade20k.py', '../_base_/backbones/vit-s_p2-p5.py']
model = dict(
    backbone={{_base_.pretrained_vit}},
    neck={{_base_.pyramid}},
    decode_head=dict(in_channels=[256, 256, 256, 256]),
)
