# Cascade Mask R-CNN on ManifoldViT-S with the stock key, NEU-Seg.
_base_ = ['./cascade-mask-rcnn_swin-t-stock_neu-seg.py', '../_base_/backbones/vit-s_p2-p6.py']
model = dict(backbone={{_base_.vit}}, neck={{_base_.pyramid}})
