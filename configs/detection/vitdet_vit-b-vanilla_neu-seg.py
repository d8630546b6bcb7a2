# ViTDet (Mask R-CNN) on ManifoldViT-B with VanillaK, NEU-Seg.
_base_ = ['./vitdet_vit-b-stock_neu-seg.py', '../_base_/keys/vanilla.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
