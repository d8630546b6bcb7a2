# Faster R-CNN on ManifoldDINOv3-S with the stock key, NEU-DET.
_base_ = ['./faster-rcnn_swin-t-stock_neu-det.py', '../_base_/backbones/dinov3-s_p2-p6.py']
model = dict(backbone={{_base_.vit}}, neck={{_base_.pyramid}})
