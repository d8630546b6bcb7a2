# RTMDet on ManifoldViT-S with the stock key, COCO, 100 epochs.
_base_ = ['./rtmdet_swin-t-stock_coco.py', '../_base_/backbones/vit-s_p3-p5.py']
model = dict(backbone={{_base_.pretrained_vit}}, neck={{_base_.pyramid}})
