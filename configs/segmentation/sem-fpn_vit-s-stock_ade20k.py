# Semantic FPN on ManifoldViT-S with the stock key, ADE20K, 160,000 iterations.
_base_ = ['./sem-fpn_swin-t-stock_ade20k.py', '../_base_/backbones/vit-s_p2-p5.py']
model = dict(backbone={{_base_.pretrained_vit}}, neck={{_base_.pyramid}})
