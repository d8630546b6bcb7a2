# RTMDet on ManifoldSwin-T with SpatialK, COCO, 100 epochs.
_base_ = ['./rtmdet_swin-t-stock_coco.py', '../_base_/keys/spatial.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
