# Faster R-CNN on ManifoldViT-S with VanillaK, synthetic defects.
_base_ = ['./faster-rcnn_vit-s-stock_synthetic.py', '../_base_/keys/vanilla.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
