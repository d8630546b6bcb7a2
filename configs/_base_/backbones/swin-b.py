# Swin-B. `swin` starts from random weights, `pretrained_swin` from ImageNet-1K (the official
# weights); use one of them as model.backbone, and the channels that the neck or the head reads.
swin = dict(arch='base')
pretrained_swin = dict(
    arch='base',
    init_cfg=dict(type='Pretrained', checkpoint='timm://swin_base_patch4_window7_224.ms_in1k'),
)
channels = [128, 256, 512, 1024]
channels_p3 = [256, 512, 1024]
