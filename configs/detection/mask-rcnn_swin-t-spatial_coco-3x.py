# Mask R-CNN on ManifoldSwin-T with SpatialK, COCO, 36 epochs (3x), multi-scale.
_base_ = ['./mask-rcnn_swin-t-stock_coco-3x.py', '../_base_/keys/spatial.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
