# Swin V2-S with windows of 8. `swin` starts from random weights, `pretrained_swin` from ImageNet-1K
# (the official weights); use one of them as model.backbone, and the channels that the neck or the
# head reads.
swin = dict(type='mkbackbones.ManifoldSwinV2', arch='small')
pretrained_swin = dict(
    swin,
    init_cfg=dict(type='Pretrained', checkpoint='timm://swinv2_small_window8_256.ms_in1k'),
)
channels = [96, 192, 384, 768]
channels_p3 = [192, 384, 768]
