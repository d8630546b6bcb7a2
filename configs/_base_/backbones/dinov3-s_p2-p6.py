# DINOv3-S with windowed attention (four global blocks) and the levels P2 to P6 (strides 4 to 64),
# for two-stage detectors. `vit` starts from random weights, `pretrained_vit` from Meta's, which are
# under the DINOv3 license.
_base_ = './vit-s_p2-p6.py'
vit = dict(type='mkbackbones.ManifoldDINOv3')
pretrained_vit = dict(
    type='mkbackbones.ManifoldDINOv3',
    init_cfg=dict(checkpoint='timm://vit_small_patch16_dinov3.lvd1689m'),
)
