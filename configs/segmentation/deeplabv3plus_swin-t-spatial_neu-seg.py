# DeepLabV3+ on ManifoldSwin-T with SpatialK, NEU-Seg.
_base_ = ['./deeplabv3plus_swin-t-stock_neu-seg.py', '../_base_/keys/spatial.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
