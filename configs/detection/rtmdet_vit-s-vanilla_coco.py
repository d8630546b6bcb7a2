# RTMDet on ManifoldViT-S with VanillaK, COCO, 100 epochs.
_base_ = ['./rtmdet_vit-s-stock_coco.py', '../_base_/keys/vanilla.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
