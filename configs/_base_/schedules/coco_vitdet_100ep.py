# COCO, 100 epochs of ViTDet at 64 images a step (184,375 iterations), as in its paper: AdamW with
# layer-wise decay of the learning rate. In bfloat16.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=184375, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='mkbackbones.BFloat16OptimWrapper',
    constructor='mkbackbones.LayerDecayConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    paramwise_cfg=dict(decay_rate=0.7),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        begin=0,
        end=184375,
        milestones=[163889, 177546],
        gamma=0.1,
    ),
]
# 16 GPUs with 4 images each.
auto_scale_lr = dict(enable=False, base_batch_size=64)
