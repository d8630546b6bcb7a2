# Cascade Mask R-CNN on ManifoldViT-S with the stock key, COCO, 12 epochs (1x).
_base_ = ['./cascade-mask-rcnn_swin-t-stock_coco.py', '../_base_/backbones/vit-s_p2-p6.py']
model = dict(backbone={{_base_.pretrained_vit}}, neck={{_base_.pyramid}})
