# COCO, 100 epochs of RTMDet at 128 images a step, as mmdet trains it with Swin: cosine from the
# middle on, validation at each of the last epochs, which are without mosaic (see the hooks).
_base_ = './coco_1x.py'
max_epochs = 100
train_cfg = dict(max_epochs=max_epochs, val_interval=10, dynamic_intervals=[(max_epochs - 10, 1)])
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, bypass_duplicate=True),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5, by_epoch=False, begin=0, end=1000),
    dict(
        type='CosineAnnealingLR',
        eta_min=5e-5,
        begin=max_epochs // 2,
        end=max_epochs,
        T_max=max_epochs // 2,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
# 4 GPUs with 32 images each.
auto_scale_lr = dict(base_batch_size=128)
