# UPerNet on ManifoldViT-S with VanillaK, magnetic tiles.
_base_ = ['./upernet_vit-s-stock_magnetic-tile.py', '../_base_/keys/vanilla.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
