# UPerNet on ManifoldSwin-B with the stock key, ADE20K, 160,000 iterations.
_base_ = ['./upernet_swin-t-stock_ade20k.py', '../_base_/backbones/swin-b.py']
model = dict(
    backbone={{_base_.pretrained_swin}},
    decode_head=dict(in_channels={{_base_.channels}}),
    auxiliary_head=dict(in_channels=512),
)
