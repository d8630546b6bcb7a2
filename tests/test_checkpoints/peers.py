"""Backbones of other libraries with random weights, small or at full size: the tests' sources."""

from functools import partial
from inspect import signature

import pytest
import timm
import torch
from mmengine.registry import DefaultScope
from torch import nn

from mkbackbones.backbones import ManifoldDINOv3, ManifoldSwin, ManifoldSwinV2, ManifoldViT
from mkbackbones.backbones.windows import shifted_window_mask

from ..lacking import intermediates

SWIN = dict(embed_dims=16, depths=(2, 2, 2), num_heads=(2, 4, 4))
SWIN_T = dict(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24))
VIT = dict(embed_dims=32, depth=3, num_heads=2)
DINOV3 = dict(VIT, swiglu=False)
VIT_S = dict(embed_dims=384, depth=12, num_heads=6)


def randomise(model):
    """Give every parameter a random value at which the network stays well conditioned."""
    generator = torch.Generator().manual_seed(1)
    for name, p in model.named_parameters():
        noise = torch.empty_like(p).normal_(generator=generator)
        is_scale = p.dim() == 1 and name.endswith(('weight', 'gamma'))
        fan_in = p[0].numel() if p.dim() > 1 and name.endswith('weight') else 1
        std = fan_in**-0.5 if fan_in > 1 else 0.2
        with torch.no_grad():
            p.copy_(noise * std + (1 if is_scale else 0))
    model.train(False)  # mm libraries return None
    return model


def swin_outputs(arch):
    return tuple(range(len(arch['depths'])))


def manifold_swin(arch=SWIN, **args):
    defaults = dict(out_indices=swin_outputs(arch), window_size=4, drop_path_rate=0.0)
    return ManifoldSwin(arch, **{**defaults, **args}).eval()


def manifold_swin_v2(arch=SWIN, **args):
    defaults = dict(out_indices=swin_outputs(arch), window_size=4, drop_path_rate=0.0)
    return ManifoldSwinV2(arch, **{**defaults, **args}).eval()


def manifold_vit(arch=VIT, **args):
    outputs = (arch['depth'] // 2, arch['depth'] - 1)
    defaults = dict(pretrain_img_size=64, out_indices=outputs, drop_path_rate=0.0)
    return ManifoldViT(arch, **{**defaults, **args}).eval()


def manifold_dinov3(arch=DINOV3, **args):
    outputs = (arch['depth'] // 2, arch['depth'] - 1)
    return ManifoldDINOv3(arch, **{'out_indices': outputs, 'drop_path_rate': 0.0, **args}).eval()


def mm_swin(library, arch=SWIN, **args):
    backbones = pytest.importorskip(f'{library}.models.backbones')
    defaults = dict(out_indices=swin_outputs(arch), window_size=4, drop_path_rate=0.0)
    if library == 'mmpretrain':
        args = dict(arch=dict(arch), pad_small_map=True, **args)
    else:
        args = {**arch, 'strides': (4, *[2] * (len(arch['depths']) - 1)), **args}
    with DefaultScope.overwrite_default_scope(library):
        return randomise(backbones.SwinTransformer(**{**defaults, **args}))


def mmseg_vit(arch=VIT, **args):
    backbones = pytest.importorskip('mmseg.models.backbones')
    defaults = dict(
        img_size=64,
        embed_dims=arch['embed_dims'],
        num_layers=arch['depth'],
        num_heads=arch['num_heads'],
        out_indices=(arch['depth'] // 2, arch['depth'] - 1),
        norm_cfg=dict(type='LN', eps=1e-6),
        final_norm=True,
        patch_bias=True,
    )
    return randomise(backbones.VisionTransformer(**{**defaults, **args}))


def mmpretrain_vit(arch=VIT, **args):
    backbones = pytest.importorskip('mmpretrain.models.backbones')
    sizes = dict(
        embed_dims=arch['embed_dims'],
        num_layers=arch['depth'],
        num_heads=arch['num_heads'],
        feedforward_channels=4 * arch['embed_dims'],
    )
    outputs = [arch['depth'] // 2, arch['depth'] - 1]
    defaults = dict(arch=sizes, img_size=64, out_indices=outputs, out_type='featmap')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return randomise(backbones.VisionTransformer(**{**defaults, **args}))


def takes(kind, argument):
    """Whether this timm's model has an argument; where it has not, it is ignored."""
    return argument in signature(kind.__init__).parameters


def shift_always(model):
    """Let blocks shift a grid of one window, too, where timm has no ``always_partition``."""
    if not takes(type(model), 'always_partition'):
        for stage in model.layers:
            for block in stage.blocks[1::2]:
                window = block.window_size[0]
                block.shift_size = (window // 2, window // 2)
                grid, device = tuple(block.input_resolution), torch.device('cpu')
                block.attn_mask = shifted_window_mask(grid, window, window // 2, device)
    return model


def timm_swin(size, arch=SWIN, **args):
    defaults = dict(window_size=4, always_partition=True, num_classes=5)
    model = timm.models.swin_transformer.SwinTransformer(
        img_size=size,
        embed_dim=arch['embed_dims'],
        depths=arch['depths'],
        num_heads=arch['num_heads'],
        **{**defaults, **args},
    )
    return randomise(shift_always(model))


def timm_swin_v2(size, arch=SWIN, **args):
    defaults = dict(window_size=4, always_partition=True, num_classes=5, strict_img_size=False)
    model = timm.models.swin_transformer_v2.SwinTransformerV2(
        img_size=size,
        embed_dim=arch['embed_dims'],
        depths=arch['depths'],
        num_heads=arch['num_heads'],
        **{**defaults, **args},
    )
    return randomise(shift_always(model))


def mmpretrain_swin_v2(arch=SWIN, **args):
    backbones = pytest.importorskip('mmpretrain.models.backbones')
    defaults = dict(out_indices=swin_outputs(arch), window_size=4, drop_path_rate=0.0)
    args = dict(arch=dict(arch, extra_norm_every_n_blocks=0), pad_small_map=True, **args)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return randomise(backbones.SwinTransformerV2(**{**defaults, **args}))


def timm_vit(arch=VIT, **args):
    defaults = dict(img_size=64, num_classes=5, dynamic_img_size=True)
    model = timm.models.vision_transformer.VisionTransformer(
        embed_dim=arch['embed_dims'],
        depth=arch['depth'],
        num_heads=arch['num_heads'],
        **{**defaults, **args},
    )
    return randomise(model)


def timm_dinov3(arch=DINOV3, **args):
    """As timm's ``vit_small_patch16_dinov3`` and its siblings, small."""
    defaults = dict(
        img_size=64,
        num_classes=0,
        qkv_bias=False,
        dynamic_img_size=True,
        dynamic_img_pad=True,
        init_values=1e-5,
        use_abs_pos_emb=False,
        use_rot_pos_emb=True,
        rope_type='dinov3',
        rope_temperature=100,
        rope_rotate_half=True,
        num_reg_tokens=4,
        use_fc_norm=False,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
    )
    model = timm.models.eva.Eva(
        embed_dim=arch['embed_dims'],
        depth=arch['depth'],
        num_heads=arch['num_heads'],
        swiglu_mlp=arch['swiglu'],
        swiglu_align_to=8,
        **{**defaults, **args},
    )
    return randomise(model)


def timm_vit_features(peer, x, arch=VIT):
    """Middle block and normalised last block, as ManifoldViT returns them."""
    last = arch['depth'] - 1
    with torch.no_grad():
        middle = intermediates(peer, x, [arch['depth'] // 2])
        end = intermediates(peer, x, [last], norm=True)
    return [*middle, *end]


def official_names(state):
    """Weights of a timm Swin as the official repository writes them."""
    official = {}
    for name, value in state.items():
        if '.downsample.' in name:
            stage = int(name.split('.')[1])
            name = name.replace(f'layers.{stage}.', f'layers.{stage - 1}.')
        official[name.replace('head.fc.', 'head.')] = value
    return official


def difference(ours, theirs, x):
    """Largest absolute difference of the outputs."""
    with torch.no_grad():
        pairs = zip(ours(x), theirs(x) if isinstance(theirs, nn.Module) else theirs, strict=True)
        return max((a - b).abs().max().item() for a, b in pairs)
