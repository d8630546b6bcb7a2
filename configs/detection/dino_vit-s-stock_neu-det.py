# DINO on ManifoldViT-S with the stock key, NEU-DET.
_base_ = ['./dino_swin-t-stock_neu-det.py', '../_base_/backbones/vit-s_p3-p6.py']
model = dict(backbone={{_base_.vit}}, neck={{_base_.pyramid}})
