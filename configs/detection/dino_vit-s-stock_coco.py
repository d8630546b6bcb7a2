# DINO on ManifoldViT-S with the stock key, COCO, 12 epochs.
_base_ = ['./dino_swin-t-stock_coco.py', '../_base_/backbones/vit-s_p3-p6.py']
model = dict(backbone={{_base_.pretrained_vit}}, neck={{_base_.pyramid}})
