# Faster R-CNN on ManifoldSwinV2-T with the stock key, NEU-DET.
_base_ = ['./faster-rcnn_swin-t-stock_neu-det.py', '../_base_/backbones/swinv2-t.py']
model = dict(backbone={{_base_.swin}})
