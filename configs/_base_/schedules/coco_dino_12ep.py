# COCO, 12 epochs of DINO at 16 images a step, as in mmdet: the backbone learns at a tenth. In
# float32: the head adds its boxes in place to a bfloat16 tensor, which moves them by 4 pixels and
# more in an image of 1,333 pixels.
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
