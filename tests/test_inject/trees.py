"""Small stock models with attention, by name, and what the tests do to them."""

import timm
import torch
from torch import nn

from mkbackbones.attention.qkv import ManifoldQKV

KEY_CFGS = [
    dict(type='LinearK'),
    dict(type='MLPK', match=dict(type='KUA', num_charts=2)),
    dict(type='VanillaK', num_charts=2, act_cfg=None),
    dict(type='SimpleK', num_charts=2, act_cfg=None, base=False),
]
KEY_CFGS += [dict(type=v, num_charts=2) for v in ('VanillaK', 'SimpleK', 'KUA', 'SpatialK')]


def key_id(cfg):
    linear = '-linear' if 'act_cfg' in cfg else ''
    return cfg['type'] + linear + ('' if cfg.get('base', True) else '-nobase')


def timm_vit(**args):
    defaults = dict(
        img_size=64, embed_dim=32, depth=4, num_heads=2, dynamic_img_size=True, num_classes=0,
        global_pool='',
    )  # fmt: skip
    return timm.models.vision_transformer.VisionTransformer(**{**defaults, **args})


def timm_swin():
    return timm.models.swin_transformer.SwinTransformer(
        img_size=64, embed_dim=16, depths=(2, 2), num_heads=(2, 4), window_size=4,
        always_partition=True, num_classes=0,
    )  # fmt: skip


def timm_swin_v2():
    return timm.models.swin_transformer_v2.SwinTransformerV2(
        img_size=64, embed_dim=16, depths=(2, 2), num_heads=(2, 4), window_size=4, num_classes=0
    )


def timm_beit():
    return timm.models.beit.Beit(
        img_size=64, embed_dim=32, depth=2, num_heads=2, num_classes=0, use_rel_pos_bias=True
    )


def timm_eva():
    return timm.models.eva.Eva(img_size=64, embed_dim=32, depth=2, num_heads=2, num_classes=0)


def timm_dinov3():
    return timm.models.eva.Eva(
        img_size=64, embed_dim=32, depth=2, num_heads=2, num_classes=0, qkv_bias=False,
        dynamic_img_size=True, init_values=0.5, use_abs_pos_emb=False, use_rot_pos_emb=True,
        rope_type='dinov3', rope_rotate_half=True, num_reg_tokens=4, global_pool='',
    )  # fmt: skip


def timm_sam():
    return timm.models.vision_transformer_sam.VisionTransformerSAM(
        img_size=64, embed_dim=32, depth=2, num_heads=2, window_size=3, global_attn_indexes=(1,),
        num_classes=0, use_rel_pos=True,
    )  # fmt: skip


def openmmlab_swin(library):
    import importlib

    backbones = importlib.import_module(f'{library}.models.backbones')
    return backbones.SwinTransformer(
        embed_dims=16, depths=(2, 2), num_heads=(2, 4), strides=(4, 2), out_indices=(0, 1),
        window_size=4, drop_path_rate=0.0,
    )  # fmt: skip


def mmseg_vit(**args):
    from mmseg.models.backbones import VisionTransformer

    defaults = dict(
        img_size=64, embed_dims=32, num_layers=4, num_heads=2, out_indices=(1, 3), patch_bias=True
    )
    return VisionTransformer(**{**defaults, **args})


#: name -> (builder, image sizes that the model takes)
TREES = {
    'timm-vit': (timm_vit, [(64, 64), (32, 96), (16, 16)]),
    'timm-vit-registers': (lambda: timm_vit(reg_tokens=3, no_embed_class=True), [(48, 80)]),
    'timm-vit-no-tokens': (lambda: timm_vit(class_token=False), [(48, 80)]),
    'timm-swin': (timm_swin, [(64, 64)]),
    'timm-swin-v2': (timm_swin_v2, [(64, 64)]),
    'timm-beit': (timm_beit, [(64, 64)]),
    'timm-eva': (timm_eva, [(64, 64)]),
    'timm-dinov3': (timm_dinov3, [(64, 64), (48, 80)]),
    'timm-sam': (timm_sam, [(64, 64)]),
    'mmdet-swin': (lambda: openmmlab_swin('mmdet'), [(64, 64), (61, 37)]),
    'mmseg-swin': (lambda: openmmlab_swin('mmseg'), [(64, 64), (61, 37)]),
    'mmseg-vit': (mmseg_vit, [(64, 64), (61, 37)]),
}


def build(name, seed=0):
    """The named model with random weights, biases and tables included, in evaluation mode."""
    torch.manual_seed(seed)
    model = TREES[name][0]()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    model.train(False)
    return model


def outputs(model, x):
    """All output tensors of a model."""
    outs = model(x)
    return list(outs) if isinstance(outs, list | tuple) else [outs]


def disturb_keys(model, std=0.3):
    """Give every parameter of the manifold keys a random value, so that the charts count."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, ManifoldQKV):
            module.qv.weight.data.mul_(4)  # attention that is not nearly uniform
            for parameter in module.key.parameters():
                parameter.data.add_(torch.randn_like(parameter), alpha=std)


def max_error(a, b):
    """Largest absolute difference between two lists of tensors."""
    return max(float((x - y).detach().abs().max()) for x, y in zip(a, b, strict=True))
