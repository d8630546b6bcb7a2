# ADE20K, 160,000 iterations of Mask2Former at 16 images a step, as in mmseg: the backbone learns at
# a tenth, and neither norms nor embeddings get weight decay.
_base_ = './ade20k_160k.py'
no_decay = dict(lr_mult=1.0, decay_mult=0.0)
backbone_no_decay = dict(lr_mult=0.1, decay_mult=0.0)
train_cfg = dict(val_interval=5000)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(
        _delete_=True,
        norm_decay_mult=0.0,
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            'relative_position_bias_table': backbone_no_decay,
            'attn.cpb_mlp': backbone_no_decay,
            'logit_scale': backbone_no_decay,
            'backbone.pos_embed': backbone_no_decay,
            'backbone.cls_token': backbone_no_decay,
            'backbone.reg_token': backbone_no_decay,
            '.gamma_1': backbone_no_decay,
            '.gamma_2': backbone_no_decay,
            'key.gamma': backbone_no_decay,
            'key.out_scale': backbone_no_decay,
            'key.chart_scale': backbone_no_decay,
            'key.temperature': backbone_no_decay,
            **{
                f'.{norm}.{kind}': backbone_no_decay
                for norm in ('norm', 'norm0', 'norm1', 'norm2', 'norm3')
                for kind in ('weight', 'bias')
            },
            'query_embed': no_decay,
            'query_feat': no_decay,
            'level_embed': no_decay,
        },
    ),
)
param_scheduler = [dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, begin=0, end=160000)]
