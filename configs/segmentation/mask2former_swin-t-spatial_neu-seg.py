# Mask2Former on ManifoldSwin-T with SpatialK, NEU-Seg.
_base_ = ['./mask2former_swin-t-stock_neu-seg.py', '../_base_/keys/spatial.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
