# DeepLabV3+ on ManifoldSwin-T with SpatialK, ADE20K, 160,000 iterations.
_base_ = ['./deeplabv3plus_swin-t-stock_ade20k.py', '../_base_/keys/spatial.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
