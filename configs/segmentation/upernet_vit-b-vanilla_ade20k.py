# UPerNet on ManifoldViT-B with VanillaK, ADE20K, 160,000 iterations.
_base_ = ['./upernet_vit-b-stock_ade20k.py', '../_base_/keys/vanilla.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
