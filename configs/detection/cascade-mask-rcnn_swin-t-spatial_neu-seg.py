# Cascade Mask R-CNN on ManifoldSwin-T with SpatialK, NEU-Seg.
_base_ = ['./cascade-mask-rcnn_swin-t-stock_neu-seg.py', '../_base_/keys/spatial.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
