# ViTDet (Mask R-CNN) on ManifoldViT-B with VanillaK, COCO, 100 epochs.
_base_ = ['./vitdet_vit-b-stock_coco.py', '../_base_/keys/vanilla.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
