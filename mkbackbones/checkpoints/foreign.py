"""Architectures that resemble those that are read, and are refused by name.

Their blocks have the same names as ours in part, so that most entries of a checkpoint would find a
place, and the network would compute something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from .families import FAMILIES, Family
from .report import CheckpointError

__all__ = ['check_ranks', 'refuse_foreign', 'tell_convolutional']

#: A sign in the names of a checkpoint, and what it is.
SIGNS = (
    (r'.*\.attn\.meta_mlp\.', 'Swin V2 CR'),
    (r'(.*\.)?(logit_scale$|cpb_mlp\.)', 'a relative of Swin V2'),
    (r'(blocks_token_only|cls_attn_blocks)\.', 'CaiT or XCiT'),
    (
        r'blocks\.\d+\.(mlp\.(norm|ffn_ln)|attn\.(norm|inner_attn_ln))\.',
        'of the family EVA-02, with norms within its branches',
    ),
    (r'blocks\.\d+\.attn\.w[qkv]\.', 'Sapiens2'),
    (r'(blocks|layers)\.\d+\.(gamma_[12]$|attn\.[qv]_bias$)', 'of the family BEiT, EVA'),
    (r'.*rel_pos_bias\.relative_position_bias_table', 'of the family BEiT, EVA'),
    (r'(.*\.)?rope\.|.*\.attn\.[qkv]_proj\.', 'of the family BEiT, EVA'),
    (r'.*\.attn\.(pool_[qkv]|norm_[qkv]\.)', 'MViT'),
    (r'.*\.attn\.rel_pos_[hw]$', 'a ViTDet or SAM with decomposed relative positions'),
    (r'pos_embed_(spatial|window)', 'Hiera'),
    (r'.*\.attn\.(q|k)_norm\.', 'a ViT with normalised queries and keys'),
    (
        r'encoder\.(layer\.\d+\.(lambda_[12]$|attention\.attention\.relative_)|relative_position)',
        'of the family BEiT, EVA',
    ),
    (r'embeddings\.detection_tokens', 'YOLOS'),
    (r'.*\.mlp\.(w12|w3|fc1_[gx]|weights_in|weights_out)\.', 'a ViT with gated MLPs (SwiGLU)'),
    (r'(pre_norm|norm_pre)\.', 'a ViT with a norm before its blocks (CLIP)'),
)
#: Signs of architectures without the patch embedding that all that are read have.
CONVOLUTIONAL = (
    (r'.*stages\.\d+\.((blocks|layers)\.)?\d+\.(conv_dw|dwconv|depthwise_conv)\.', 'a ConvNeXt'),
)
#: Numbers of dimensions that entries have in every size of the architectures; the first that fits.
RANKS = (
    (r'patch_embed\.proj\.weight', (2, 4)),
    (r'(pos_embed|cls_token|reg_token)', (3, 4)),
    (r'.*\.relative_position_bias_table', (2,)),
    (r'.*\.relative_position_index', (1, 2)),
    (r'.*\.(qkv|proj|fc1|fc2|reduction)\.weight', (2,)),
    (r'(?!.*\.key\.).*\.(bias|ls[12]\.gamma)', (1,)),
    (r'(.*\.)?norm\d*\.(weight|bias)', (1,)),
)


def refuse_foreign(names: Iterable[str], family: Family | None) -> None:
    """Raise CheckpointError if names are of an architecture that is not read.

    Args:
        names (Iterable[str]): All names of a backbone.
        family (Family, optional): What it was recognised as; its own marks are not foreign.
    """
    names = [name for name in names if family is None or not family.is_own(name)]
    for sign, kind in SIGNS:
        found = next((name for name in names if re.match(sign, name)), None)
        if found:
            raise CheckpointError(
                f'the checkpoint is {kind} ({found}), which is not read; read are plain '
                f'{", ".join(family.title for family in FAMILIES.values())}'
            )


def tell_convolutional(names: Iterable[str]) -> str:
    """What a checkpoint without a patch embedding is, to go on a sentence; empty if unknown."""
    names = list(names)
    for sign, kind in CONVOLUTIONAL:
        found = next((name for name in names if re.match(sign, name)), None)
        if found:
            return f'; it is {kind} ({found}), which has no attention, whatever it was trained by'
    return ''


def check_ranks(state: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError for an entry, in our layout, that has a wrong number of dimensions."""
    for name, value in state.items():
        ranks = next((ranks for pattern, ranks in RANKS if re.fullmatch(pattern, name)), None)
        if ranks is not None and value.dim() not in ranks:
            wanted = ' or '.join(map(str, ranks))
            raise CheckpointError(
                f'{name} has the shape {tuple(value.shape)}; it has to have {wanted} dimensions, '
                'so the checkpoint is damaged or of another architecture'
            )
