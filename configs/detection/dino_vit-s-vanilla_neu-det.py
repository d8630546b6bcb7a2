# DINO on ManifoldViT-S with VanillaK, NEU-DET.
_base_ = ['./dino_vit-s-stock_neu-det.py', '../_base_/keys/vanilla.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
