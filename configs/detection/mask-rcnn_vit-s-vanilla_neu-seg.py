# Mask R-CNN on ManifoldViT-S with VanillaK, NEU-Seg.
_base_ = ['./mask-rcnn_vit-s-stock_neu-seg.py', '../_base_/keys/vanilla.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
