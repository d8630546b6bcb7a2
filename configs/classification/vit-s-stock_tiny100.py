# A linear head on ManifoldViT-S with the stock key, Tiny ImageNet's 100 classes, from scratch.
# 112 pixels are 7x7 patches of 16; the head sees the mean over them, not the class token.
_base_ = './swin-t-stock_tiny100.py'
model = dict(
    backbone=dict(_delete_=True, type='mkbackbones.ManifoldViT', arch='small', drop_path_rate=0.1),
    in_channels=384,
)
