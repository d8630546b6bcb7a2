# Mask R-CNN on ManifoldViT-S with VanillaK, COCO, 12 epochs (1x).
_base_ = ['./mask-rcnn_vit-s-stock_coco.py', '../_base_/keys/vanilla.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
