# Swin-T. `swin` starts from random weights, `pretrained_swin` from ImageNet-1K (the official
# weights); use one of them as model.backbone, and the channels that the neck or the head reads.
swin = dict(arch='tiny')
pretrained_swin = dict(
    arch='tiny',
    init_cfg=dict(type='Pretrained', checkpoint='timm://swin_tiny_patch4_window7_224.ms_in1k'),
)
channels = [96, 192, 384, 768]
channels_p3 = [192, 384, 768]
