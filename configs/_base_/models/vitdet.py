# ViTDet: Mask R-CNN on ManifoldViT-B and the stock key, with windowed attention, a global block at
# the end of each quarter, a simple feature pyramid, and the heads of the paper (arXiv 2203.16527):
# two convolutions in the RPN, four and a fully connected layer in the box head. Their layer norms
# are left out; mmdet has none for maps.
_base_ = './mask-rcnn.py'
model = dict(
    data_preprocessor=dict(pad_size_divisor=64),
    backbone=dict(
        _delete_=True,
        type='mkbackbones.ManifoldViT',
        arch='base',
        window_size=14,
        drop_path_rate=0.1,
    ),
    neck=dict(
        _delete_=True,
        type='mkbackbones.SimpleFeaturePyramid',
        in_channels=768,
        out_channels=256,
        num_outs=5,
    ),
    rpn_head=dict(num_convs=2),
    roi_head=dict(bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256)),
)
