# UPerNet on ManifoldDINOv3-S with VanillaK, NEU-Seg.
_base_ = ['./upernet_dinov3-s-stock_neu-seg.py', '../_base_/keys/vanilla.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
