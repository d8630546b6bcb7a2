# DINOv3-B; otherwise as its smaller sibling.
_base_ = './dinov3-s_p3-p6.py'
vit = dict(arch='base')
pretrained_vit = dict(
    arch='base', init_cfg=dict(checkpoint='timm://vit_base_patch16_dinov3.lvd1689m')
)
pyramid = dict(in_channels=768)
