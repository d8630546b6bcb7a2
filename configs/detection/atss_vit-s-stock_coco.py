# ATSS on ManifoldViT-S with the stock key, COCO, 12 epochs (1x).
_base_ = ['./atss_swin-t-stock_coco.py', '../_base_/backbones/vit-s_p3-p7.py']
model = dict(backbone={{_base_.pretrained_vit}}, neck={{_base_.pyramid}})
