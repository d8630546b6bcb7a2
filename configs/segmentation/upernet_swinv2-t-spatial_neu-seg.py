# UPerNet on ManifoldSwinV2-T with SpatialK, NEU-Seg.
_base_ = ['./upernet_swinv2-t-stock_neu-seg.py', '../_base_/keys/spatial.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
