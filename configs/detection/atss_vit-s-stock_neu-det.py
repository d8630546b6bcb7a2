# ATSS on ManifoldViT-S with the stock key, NEU-DET.
_base_ = ['./atss_swin-t-stock_neu-det.py', '../_base_/backbones/vit-s_p3-p7.py']
model = dict(backbone={{_base_.vit}}, neck={{_base_.pyramid}})
