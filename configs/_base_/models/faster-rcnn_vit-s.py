# Faster R-CNN on ManifoldViT-S and the stock key, ViTDet style: windowed attention with a global
# block at the end of each quarter, and a simple feature pyramid from the last map.
_base_ = './faster-rcnn_swin-t.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mkbackbones.ManifoldViT',
        arch='small',
        window_size=14,
        drop_path_rate=0.1,
    ),
    neck=dict(
        _delete_=True,
        type='mkbackbones.SimpleFeaturePyramid',
        in_channels=384,
        out_channels=256,
        num_outs=5,
    ),
)
