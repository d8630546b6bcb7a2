# Cascade Mask R-CNN on ManifoldSwin-T with SpatialK, COCO, 12 epochs (1x).
_base_ = ['./cascade-mask-rcnn_swin-t-stock_coco.py', '../_base_/keys/spatial.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
