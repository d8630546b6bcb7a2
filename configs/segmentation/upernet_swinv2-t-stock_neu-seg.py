# UPerNet on ManifoldSwinV2-T with the stock key, NEU-Seg.
_base_ = ['./upernet_swin-t-stock_neu-seg.py', '../_base_/backbones/swinv2-t.py']
model = dict(backbone={{_base_.swin}})
