# COCO, 12 epochs of DINO at 16 images a step, as in mmdet: the backbone learns at a tenth. In
# float32: in mixed precision the head gives its boxes in bfloat16, off by up to 3 pixels where the
# image has 1,333.
_base_ = './coco_1x.py'
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    paramwise_cfg=dict(_delete_=True, custom_keys={'backbone': dict(lr_mult=0.1)}),
)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[11], gamma=0.1)
]
