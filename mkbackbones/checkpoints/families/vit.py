"""Checkpoints of plain Vision Transformers."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor

from ..namings import Naming, Pairs
from ..report import Report
from ..tensors import count_prefix, resize_patches, resize_positions
from .base import (
    TRANSFORMERS_ANCHOR,
    Family,
    Weights,
    drop,
    fuse_projections,
    mlp_width,
    register_family,
    replace,
)

OFFICIAL_VIT: Pairs = (
    ('cls_token', 'cls_token'),
    ('pos_embed', 'pos_embed'),
    ('patch_embed.proj', 'patch_embed.proj'),
    ('blocks.{}.norm1', 'blocks.{}.norm1'),
    ('blocks.{}.attn', 'blocks.{}.attn'),
    ('blocks.{}.ls1', 'blocks.{}.ls1'),
    ('blocks.{}.norm2', 'blocks.{}.norm2'),
    ('blocks.{}.mlp', 'blocks.{}.mlp'),
    ('blocks.{}.ls2', 'blocks.{}.ls2'),
    ('norm', 'norm'),
)
TIMM_VIT: Pairs = (*OFFICIAL_VIT, ('reg_token', 'reg_token'))
MMPRETRAIN_VIT: Pairs = (
    ('cls_token', 'cls_token'),
    ('pos_embed', 'pos_embed'),
    ('patch_embed.projection', 'patch_embed.proj'),
    ('layers.{}.ln1', 'blocks.{}.norm1'),
    ('layers.{}.attn.qkv', 'blocks.{}.attn.qkv'),
    ('layers.{}.attn.proj', 'blocks.{}.attn.proj'),
    ('layers.{}.attn.gamma1.weight', 'blocks.{}.ls1.gamma'),
    ('layers.{}.ln2', 'blocks.{}.norm2'),
    ('layers.{}.ffn.layers.0.0', 'blocks.{}.mlp.fc1'),
    ('layers.{}.ffn.layers.1', 'blocks.{}.mlp.fc2'),
    ('layers.{}.ffn.gamma2.weight', 'blocks.{}.ls2.gamma'),
    ('ln1', 'norm'),
)
MMSEG_VIT: Pairs = (
    ('cls_token', 'cls_token'),
    ('pos_embed', 'pos_embed'),
    ('patch_embed.projection', 'patch_embed.proj'),
    ('layers.{}.ln1', 'blocks.{}.norm1'),
    # nn.MultiheadAttention stacks query, key and value as a fused Linear does.
    ('layers.{}.attn.attn.in_proj_weight', 'blocks.{}.attn.qkv.weight'),
    ('layers.{}.attn.attn.in_proj_bias', 'blocks.{}.attn.qkv.bias'),
    ('layers.{}.attn.attn.out_proj', 'blocks.{}.attn.proj'),
    ('layers.{}.ln2', 'blocks.{}.norm2'),
    ('layers.{}.ffn.layers.0.0', 'blocks.{}.mlp.fc1'),
    ('layers.{}.ffn.layers.1', 'blocks.{}.mlp.fc2'),
    ('ln1', 'norm'),
)


TRANSFORMERS_VIT: Pairs = (
    ('embeddings.cls_token', 'cls_token'),
    ('embeddings.distillation_token', 'dist_token'),
    ('embeddings.register_tokens', 'reg_token'),
    ('embeddings.position_embeddings', 'pos_embed'),
    ('embeddings.patch_embeddings.projection', 'patch_embed.proj'),
    ('encoder.layer.{}.attention.attention', 'blocks.{}.attn'),  # query, key and value
    ('encoder.layer.{}.attention.output.dense', 'blocks.{}.attn.proj'),
    ('layernorm', 'norm'),
    # ViT and DeiT
    ('encoder.layer.{}.layernorm_before', 'blocks.{}.norm1'),
    ('encoder.layer.{}.layernorm_after', 'blocks.{}.norm2'),
    ('encoder.layer.{}.intermediate.dense', 'blocks.{}.mlp.fc1'),
    ('encoder.layer.{}.output.dense', 'blocks.{}.mlp.fc2'),
    # DINOv2
    ('encoder.layer.{}.norm1', 'blocks.{}.norm1'),
    ('encoder.layer.{}.norm2', 'blocks.{}.norm2'),
    ('encoder.layer.{}.mlp', 'blocks.{}.mlp'),
    ('encoder.layer.{}.layer_scale1.lambda1', 'blocks.{}.ls1.gamma'),
    ('encoder.layer.{}.layer_scale2.lambda1', 'blocks.{}.ls2.gamma'),
)
TORCHVISION_VIT: Pairs = (
    ('class_token', 'cls_token'),
    ('conv_proj', 'patch_embed.proj'),
    ('encoder.pos_embedding', 'pos_embed'),
    ('encoder.layers.encoder_layer_{}.ln_1', 'blocks.{}.norm1'),
    ('encoder.layers.encoder_layer_{}.self_attention.in_proj_weight', 'blocks.{}.attn.qkv.weight'),
    ('encoder.layers.encoder_layer_{}.self_attention.in_proj_bias', 'blocks.{}.attn.qkv.bias'),
    ('encoder.layers.encoder_layer_{}.self_attention.out_proj', 'blocks.{}.attn.proj'),
    ('encoder.layers.encoder_layer_{}.ln_2', 'blocks.{}.norm2'),
    ('encoder.layers.encoder_layer_{}.mlp.0', 'blocks.{}.mlp.fc1'),
    ('encoder.layers.encoder_layer_{}.mlp.3', 'blocks.{}.mlp.fc2'),
    ('encoder.layers.encoder_layer_{}.mlp.linear_1', 'blocks.{}.mlp.fc1'),  # before 0.15
    ('encoder.layers.encoder_layer_{}.mlp.linear_2', 'blocks.{}.mlp.fc2'),
    ('encoder.ln', 'norm'),
)
#: What to do about entries that only one side has, in all ViTs.
REGISTER_HINT = (r'reg_token', 'register tokens; set num_register_tokens as in the checkpoint')
NORM_HINT = (
    r'norm\.(weight|bias)$',
    'no norm before pooling in the checkpoint; set final_norm=False',
)
CLASS_TOKEN_HINT = (r'cls_token', 'our ViTs always have a class token')


class ViTFamily(Family):
    """Vision Transformer (arXiv 2010.11929), DeiT, MAE and DINOv2 included."""

    name = 'vit'
    title = 'ViT'
    classes = ('VisionTransformer', 'ViT', 'BEiT', 'MAE', 'ManifoldViT')
    namings = {
        'timm': Naming('timm', TIMM_VIT),
        'official': Naming('official (DeiT, MAE, DINOv2)', OFFICIAL_VIT),
        'mmpretrain': Naming('mmpretrain', MMPRETRAIN_VIT),
        'mmseg': Naming('mmseg', MMSEG_VIT),
        'transformers': Naming(
            'transformers', TRANSFORMERS_VIT, TRANSFORMERS_ANCHOR, is_written=False
        ),
        'torchvision': Naming(
            'torchvision', TORCHVISION_VIT, r'conv_proj\.weight', is_written=False
        ),
    }
    signs = (
        ('mmseg', r'layers\.\d+\.attn\.attn\.'),
        ('mmpretrain', r'layers\.\d+\.(ln1|attn\.qkv)\.'),
        ('transformers', r'encoder\.layer\.\d+\.attention\.attention\.query\.'),
        ('torchvision', r'encoder\.layers\.encoder_layer_\d+\.'),
        ('timm', r'blocks\.\d+\.(\d+\.)?attn\.'),
    )
    peers = ('mmseg', 'mmpretrain', 'timm')
    hints = (
        REGISTER_HINT,
        (r'.*\.ls[12]\.', 'layer scale; set init_values as in the checkpoint'),
        NORM_HINT,
        CLASS_TOKEN_HINT,
    )

    def tidy(self, inside: dict[str, Tensor]) -> dict[str, Tensor]:
        """Undo the chunks into which DINOv2 packs its blocks for training."""
        return {re.sub(r'^blocks\.\d+\.(\d+)\.', r'blocks.\1.', n): v for n, v in inside.items()}

    def read(self, weights: Weights, naming: Naming) -> None:
        """Name the extra tokens as we do, and give the position embedding our extent.

        With register tokens it covers the patches only, timm's rule; without, the class token
        too. A distillation token is a register token: it takes part in the attention and is not
        returned.
        """
        fuse_projections(weights)
        state, unknown = weights.state, weights.unknown
        places = [(state, 'reg_token'), (unknown, 'register_tokens')]
        places += [(state, 'dist_token'), (unknown, 'dist_token')]
        registers = [where.pop(name) for where, name in places if name in where]
        if registers:
            state['reg_token'] = torch.cat(registers, dim=1)
        num_registers = state['reg_token'].shape[1] if registers else 0
        if 'pos_embed' not in state or state['pos_embed'].dim() != 3:
            return
        pos_embed = state['pos_embed']
        num_prefix = count_prefix(pos_embed.shape[1], 1 + num_registers)
        if registers and num_prefix:
            if 'cls_token' in state:
                state['cls_token'] = state['cls_token'] + pos_embed[:, :1]
            if num_prefix > 1:
                state['reg_token'] = state['reg_token'] + pos_embed[:, 1:num_prefix]
            state['pos_embed'] = pos_embed[:, num_prefix:]
        elif not registers and num_prefix == 0:
            state['pos_embed'] = torch.cat([torch.zeros_like(pos_embed[:, :1]), pos_embed], dim=1)

    def fit(self, state: dict[str, Tensor], model: Any, report: Report) -> None:
        """Resample the embeddings; leave out blocks that the model was built without."""
        fit_tokens(state, model, report)
        if 'pos_embed' in state and state['pos_embed'].dim() == 3:
            fit_positions(state, model, report)

    def facts(self, backbone: Any) -> dict[str, Any]:
        """Heads, which weights do not tell, and outputs, which have no norms of their own."""
        heads = backbone.blocks[0].attn.num_heads
        return dict(num_heads=heads, out_indices=backbone.out_indices)

    def stock_config(  # type: ignore[override]  # it takes what facts gives
        self,
        weights: Weights,
        library: str,
        num_heads: int | None = None,
        out_indices: tuple = (),
    ) -> dict[str, Any] | None:
        """The config of a library's VisionTransformer; images are as large as its positions.

        Args:
            weights (Weights): Weights in our layout.
            library (str): An OpenMMLab library that has a naming.
            num_heads (int, optional): Attention heads, which the weights do not tell.
            out_indices (tuple): Blocks to return.
        """
        if num_heads is None:
            return None
        state = weights.state
        dims, _, patch_size, _ = state['patch_embed.proj.weight'].shape
        num_layers = sum(name.endswith('.norm1.weight') for name in state)
        sizes = dict(embed_dims=dims, num_layers=num_layers, num_heads=num_heads)
        common = dict(
            img_size=patch_size * math.isqrt(state['pos_embed'].shape[1] - 1),
            patch_size=patch_size,
            out_indices=tuple(out_indices),
            qkv_bias='blocks.0.attn.qkv.bias' in state,
            final_norm='norm.weight' in state,
            norm_cfg=dict(type='LN', eps=1e-6),
        )
        width = mlp_width(state, 'blocks.0')
        if library == 'mmseg':
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

    def peer_config(self, library: str, name: str, arch: dict) -> dict[str, Any]:
        """A library's VisionTransformer with the last block as output."""
        cfg = dict(type=f'{library}.VisionTransformer')
        if library == 'mmpretrain':
            return dict(cfg, arch=name, out_type='featmap')
        arch = dict(arch)
        return dict(cfg, num_layers=arch.pop('depth'), **arch)

    def peer_timm(self, name: str, size: tuple[int, int]) -> dict[str, Any]:
        """timm's, for images of any size."""
        model = f'vit_{name}_patch16_224'
        return dict(model_name=model, dynamic_img_size=True, out_indices=[-1])


def fit_tokens(state: dict[str, Tensor], model: Any, report: Report) -> None:
    """Resample the patch embedding; leave out blocks and norm that a ViT was built without."""
    for name in list(state):
        match = re.match(r'blocks\.(\d+)\.', name)
        if match and len(model.blocks) <= int(match[1]) < model.depth:
            drop(state, name, 'behind the last output', report)
        elif name.startswith('norm.') and model.norm is None:
            drop(state, name, 'the model has no final norm', report)
    if 'patch_embed.proj.weight' in state:
        weight = state['patch_embed.proj.weight']
        size = (model.patch_size, model.patch_size)
        replace(state, 'patch_embed.proj.weight', resize_patches(weight, size), report)


def fit_positions(state: dict[str, Tensor], model: Any, report: Report) -> None:
    """Let the position embedding cover the prefix tokens that the model's covers, and its grid."""
    pos_embed = state['pos_embed']
    covered = 0 if 'reg_token' in state else 1
    if covered > model.num_embedded_prefix:
        if 'cls_token' in state:
            state['cls_token'] = state['cls_token'] + pos_embed[:, :1]
        pos_embed = pos_embed[:, 1:]
    elif covered < model.num_embedded_prefix:
        pos_embed = torch.cat([torch.zeros_like(pos_embed[:, :1]), pos_embed], dim=1)
    state['pos_embed'] = pos_embed
    if pos_embed.shape[1] != model.pos_embed.shape[1]:
        resized = resize_positions(pos_embed, model.pretrain_grid, model.num_embedded_prefix)
        replace(state, 'pos_embed', resized, report)


VIT = register_family(ViTFamily())
