# Cascade Mask R-CNN on ManifoldSwin-B with the stock key, COCO, 36 epochs (3x), multi-scale.
_base_ = ['./cascade-mask-rcnn_swin-t-stock_coco-3x.py', '../_base_/backbones/swin-b.py']
model = dict(backbone={{_base_.pretrained_swin}}, neck=dict(in_channels={{_base_.channels}}))
