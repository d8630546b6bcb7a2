# UPerNet on a nano Swin with SpatialK, synthetic defects at 128x128.
_base_ = ['./upernet_swin-nano-stock.py', '../_base_/keys/spatial.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
