# ViTDet (Mask R-CNN) on ManifoldViT-S with the stock key, COCO, 100 epochs. The weights are DeiT's.
_base_ = ['./vitdet_vit-b-stock_coco.py', '../_base_/backbones/vit-s_p2-p6.py']
model = dict(backbone={{_base_.pretrained_vit}}, neck={{_base_.pyramid}})
