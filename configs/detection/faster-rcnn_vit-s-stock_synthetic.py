# Faster R-CNN on ManifoldViT-S with the stock key, synthetic defects.
_base_ = ['./faster-rcnn_swin-t-stock_synthetic.py', '../_base_/backbones/vit-s_p2-p6.py']
model = dict(backbone={{_base_.vit}}, neck={{_base_.pyramid}})
