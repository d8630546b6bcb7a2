# 12,000 iterations of AdamW in bfloat16, on a GPU or a CPU: linear warm-up, then cosine.
# Norms, biases, position embeddings and the keys' own scales get no weight decay.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=12000, val_interval=1000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='mkbackbones.BFloat16OptimWrapper',
    constructor='mkbackbones.MergedGroupsConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=1.0, norm_type=2),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            'relative_position_bias_table': dict(decay_mult=0.0),
            'cpb_mlp': dict(decay_mult=0.0),
            'logit_scale': dict(decay_mult=0.0),
            'pos_embed': dict(decay_mult=0.0),
            'cls_token': dict(decay_mult=0.0),
            'reg_token': dict(decay_mult=0.0),
            'q_bias': dict(decay_mult=0.0),
            'v_bias': dict(decay_mult=0.0),
            'gamma_1': dict(decay_mult=0.0),
            'gamma_2': dict(decay_mult=0.0),
            'key.gamma': dict(decay_mult=0.0),
            'key.out_scale': dict(decay_mult=0.0),
            'key.chart_scale': dict(decay_mult=0.0),
            'key.temperature': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, begin=500, end=12000),
]
