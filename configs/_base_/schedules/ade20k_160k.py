# ADE20K, 160,000 iterations at 16 images a step, as mmseg's Swin configs have it: AdamW, linear
# warm-up, then linear decay. In bfloat16.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='mkbackbones.BFloat16OptimWrapper',
    constructor='mkbackbones.MergedGroupsConstructor',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys={
            'norm': dict(decay_mult=0.0),
            'relative_position_bias_table': dict(decay_mult=0.0),
            'cpb_mlp': dict(decay_mult=0.0),
            'logit_scale': dict(decay_mult=0.0),
            'pos_embed': dict(decay_mult=0.0),
            'cls_token': dict(decay_mult=0.0),
            'reg_token': dict(decay_mult=0.0),
            'gamma_1': dict(decay_mult=0.0),
            'gamma_2': dict(decay_mult=0.0),
            'key.gamma': dict(decay_mult=0.0),
            'key.out_scale': dict(decay_mult=0.0),
            'key.chart_scale': dict(decay_mult=0.0),
            'key.temperature': dict(decay_mult=0.0),
        }
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, by_epoch=False, begin=1500, end=160000),
]
# 8 GPUs with 2 images each.
auto_scale_lr = dict(enable=False, base_batch_size=16)
