# ATSS on ManifoldSwin-T with SpatialK, NEU-DET.
_base_ = ['./atss_swin-t-stock_neu-det.py', '../_base_/keys/spatial.py']
model = dict(backbone=dict(key_cfg={{_base_.key_cfg}}))
