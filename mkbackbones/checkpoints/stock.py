"""The config of the stock backbone that loads weights written in a library's naming."""

import math
from typing import Any

from .read import Weights
from .tensors import window_index


def stock_config(
    weights: Weights, naming: str, num_heads: int | None = None, out_indices: tuple = ()
) -> dict[str, Any] | None:
    """The backbone to put into a config of mmdet, mmseg or mmpretrain.

    Args:
        weights (Weights): Weights in our layout.
        naming (str): The library.
        num_heads (int, optional): Attention heads of a ViT, which its weights do not tell.
        out_indices (tuple): Blocks that a ViT returns.

    Returns:
        dict | None: The config; None for timm, the official codes, and a ViT of unknown heads.
    """
    if naming not in ('mmdet', 'mmseg', 'mmpretrain'):
        return None
    if weights.layout == 'swin':
        return swin_config(weights, naming)
    return None if num_heads is None else vit_config(weights, naming, num_heads, out_indices)


def swin_config(weights: Weights, naming: str) -> dict[str, Any]:
    """The config of a library's SwinTransformer."""
    state = weights.state
    depths = count_blocks(weights)
    tables = [f'layers.{i}.blocks.0.attn.relative_position_bias_table' for i in range(len(depths))]
    arch = dict(
        embed_dims=state['patch_embed.proj.weight'].shape[0],
        depths=tuple(depths),
        num_heads=tuple(state[table].shape[1] for table in tables),
    )
    index = window_index(state[tables[0]])
    common = dict(
        window_size=math.isqrt(index.shape[0]),
        out_indices=tuple(i for i in range(len(depths)) if f'norm{i}.weight' in state),
    )
    if naming == 'mmpretrain':
        # Without padding, its Swin shrinks windows on small maps, as classifiers do.
        return dict(type='mmpretrain.SwinTransformer', arch=arch, pad_small_map=True, **common)
    return dict(
        type=f'{naming}.SwinTransformer',
        **arch,
        **common,
        strides=(4, *[2] * (len(depths) - 1)),
        mlp_ratio=mlp_width(state, 'layers.0.blocks.0') // arch['embed_dims'],
        qkv_bias='layers.0.blocks.0.attn.qkv.bias' in state,
    )


def vit_config(weights: Weights, naming: str, num_heads: int, out_indices: tuple) -> dict[str, Any]:
    """The config of a library's VisionTransformer; its images are of the size of the positions."""
    state = weights.state
    dims, _, patch_size, _ = state['patch_embed.proj.weight'].shape
    sizes = dict(embed_dims=dims, num_layers=count_blocks(weights)[0], num_heads=num_heads)
    common = dict(
        img_size=patch_size * math.isqrt(state['pos_embed'].shape[1] - 1),
        patch_size=patch_size,
        out_indices=tuple(out_indices),
        qkv_bias='blocks.0.attn.qkv.bias' in state,
        final_norm='norm.weight' in state,
        norm_cfg=dict(type='LN', eps=1e-6),
    )
    width = mlp_width(state, 'blocks.0')
    if naming == 'mmseg':
        extra = dict(mlp_ratio=width // dims, patch_bias=True)
        return dict(type='mmseg.VisionTransformer', **sizes, **common, **extra)
    arch = dict(**sizes, feedforward_channels=width)
    scale = 1e-5 if 'blocks.0.ls1.gamma' in state else 0.0
    return dict(
        type='mmpretrain.VisionTransformer',
        arch=arch,
        **common,
        out_type='featmap',
        layer_scale_init_value=scale,
    )


def count_blocks(weights: Weights) -> list[int]:
    """Blocks in each stage; a ViT is one stage."""
    names = [name.split('.') for name in weights.state if name.endswith('.norm1.weight')]
    if weights.layout == 'vit':
        return [len(names)]
    stages = [int(name[1]) for name in names]
    return [stages.count(i) for i in range(max(stages) + 1)]


def mlp_width(state: dict, block: str) -> int:
    """Hidden channels of a block's MLP."""
    return state[f'{block}.mlp.fc1.weight'].shape[0]
