# UPerNet on ManifoldSwin-S with the stock key, ADE20K, 160,000 iterations.
_base_ = ['./upernet_swin-t-stock_ade20k.py', '../_base_/backbones/swin-s.py']
model = dict(backbone={{_base_.pretrained_swin}})
