# UPerNet on ManifoldSwin-T with SpatialK, magnetic tiles.
_base_ = ['./upernet_swin-t-stock_magnetic-tile.py', '../_base_/keys/spatial.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
