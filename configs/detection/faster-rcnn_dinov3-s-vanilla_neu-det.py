# Faster R-CNN on ManifoldDINOv3-S with VanillaK, NEU-DET.
_base_ = ['./faster-rcnn_dinov3-s-stock_neu-det.py', '../_base_/keys/vanilla.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
