# DINOv3-S with windowed attention (four global blocks) and the levels P2 to P6 (strides 4 to 64),
# for two-stage detectors. `vit` starts from random weights, `pretrained_vit` from Meta's, which are
# under the DINOv3 license.
vit = dict(
    _delete_=True,
    type='mkbackbones.ManifoldDINOv3',
    arch='small',
    window_size=14,
    drop_path_rate=0.1,
)
pretrained_vit = dict(
    vit,
    init_cfg=dict(type='Pretrained', checkpoint='timm://vit_small_patch16_dinov3.lvd1689m'),
)
pyramid = dict(
    _delete_=True,
    type='mkbackbones.SimpleFeaturePyramid',
    in_channels=384,
    out_channels=256,
    num_outs=5,
)
