# Faster R-CNN on ManifoldSwin-T with SpatialK, synthetic defects.
_base_ = ['./faster-rcnn_swin-t-stock_synthetic.py', '../_base_/keys/spatial.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
