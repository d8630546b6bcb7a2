"""Small backbones that the tests share."""

from torch import nn

from mkbackbones.backbones import ManifoldDINOv3, ManifoldSwin, ManifoldSwinV2, ManifoldViT

SWIN = dict(embed_dims=16, depths=(2, 2), num_heads=(2, 4))
VIT = dict(embed_dims=32, depth=4, num_heads=2)
DINOV3 = dict(VIT, swiglu=False)
VARIANTS = ('VanillaK', 'SimpleK', 'KUA', 'SpatialK')
KEY_CFGS = [None, dict(type='LinearK'), dict(type='MLPK', match=dict(type='KUA', num_charts=2))]
KEY_CFGS += [dict(type=v, num_charts=2) for v in VARIANTS]
MIXED = dict(type='MLPK', match=dict(type='SpatialK', num_charts=2), spatial=True)
KEY_CFGS += [MIXED, dict(type='LinearK', temperature=True)]


def tiny_swin(**args):
    defaults = dict(arch=SWIN, out_indices=(0, 1), window_size=4, drop_path_rate=0.0)
    return ManifoldSwin(**{**defaults, **args})


def tiny_swin_v2(**args):
    defaults = dict(arch=SWIN, out_indices=(0, 1), window_size=4, drop_path_rate=0.0)
    model = ManifoldSwinV2(**{**defaults, **args})
    for block in (block for stage in model.layers for block in stage.blocks):
        # Zero at first: the block would be the identity.
        nn.init.constant_(block.norm1.weight, 0.3)
        nn.init.constant_(block.norm2.weight, 0.3)
    return model


def tiny_vit(**args):
    defaults = dict(arch=VIT, pretrain_img_size=64, out_indices=(1, 3), drop_path_rate=0.0)
    return ManifoldViT(**{**defaults, **args})


def tiny_dinov3(**args):
    # Layer scale starts near zero: the blocks would be nearly the identity.
    defaults = dict(arch=DINOV3, out_indices=(1, 3), drop_path_rate=0.0, init_values=0.5)
    return ManifoldDINOv3(**{**defaults, **args})


def key_name(cfg):
    if cfg is None:
        return 'stock'
    return '-'.join([cfg['type'], *(name for name in ('spatial', 'temperature') if name in cfg)])
