# UPerNet on ManifoldSwin-B with SpatialK, ADE20K, 160,000 iterations.
_base_ = ['./upernet_swin-b-stock_ade20k.py', '../_base_/keys/spatial.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
