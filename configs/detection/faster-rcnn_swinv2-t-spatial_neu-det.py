# Faster R-CNN on ManifoldSwinV2-T with SpatialK, NEU-DET.
_base_ = ['./faster-rcnn_swinv2-t-stock_neu-det.py', '../_base_/keys/spatial.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
