# Swin V2-B with windows of 8. `swin` starts from random weights, `pretrained_swin` from ImageNet-1K
# (the official weights); use one of them as model.backbone, and the channels that the neck or the
# head reads.
swin = dict(type='mkbackbones.ManifoldSwinV2', arch='base')
pretrained_swin = dict(
    swin,
    init_cfg=dict(type='Pretrained', checkpoint='timm://swinv2_base_window8_256.ms_in1k'),
)
channels = [128, 256, 512, 1024]
channels_p3 = [256, 512, 1024]
