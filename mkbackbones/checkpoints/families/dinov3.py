"""Checkpoints of DINOv3's Vision Transformers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..namings import Naming, Pairs
from ..report import CheckpointError, Entry, Report
from .base import (
    Family,
    Weights,
    fuse_projections,
    name_separate_biases,
    register_family,
    split_fused_biases,
)
from .vit import CLASS_TOKEN_HINT, NORM_HINT, REGISTER_HINT, fit_tokens

TIMM_DINOV3: Pairs = (
    ('cls_token', 'cls_token'),
    ('reg_token', 'reg_token'),
    ('rope.periods', 'rope.periods'),
    ('patch_embed.proj', 'patch_embed.proj'),
    ('blocks.{}.norm1', 'blocks.{}.norm1'),
    ('blocks.{}.attn', 'blocks.{}.attn'),
    ('blocks.{}.gamma_1', 'blocks.{}.gamma_1'),
    ('blocks.{}.norm2', 'blocks.{}.norm2'),
    ('blocks.{}.mlp', 'blocks.{}.mlp'),
    ('blocks.{}.gamma_2', 'blocks.{}.gamma_2'),
    ('norm', 'norm'),
)
OFFICIAL_DINOV3: Pairs = (
    ('storage_tokens', 'reg_token'),
    ('mask_token', 'mask_token'),
    ('rope_embed.periods', 'rope.periods'),
    ('blocks.{}.ls1.gamma', 'blocks.{}.gamma_1'),
    ('blocks.{}.ls2.gamma', 'blocks.{}.gamma_2'),
    *(pair for pair in TIMM_DINOV3 if not re.search(r'reg_token|rope|gamma', pair[0])),
)
TRANSFORMERS_DINOV3: Pairs = (
    ('embeddings.cls_token', 'cls_token'),
    ('embeddings.register_tokens', 'reg_token'),
    ('embeddings.patch_embeddings', 'patch_embed.proj'),
    ('layer.{}.norm1', 'blocks.{}.norm1'),
    ('layer.{}.attention.q_proj', 'blocks.{}.attn.query'),
    ('layer.{}.attention.k_proj', 'blocks.{}.attn.key'),
    ('layer.{}.attention.v_proj', 'blocks.{}.attn.value'),
    ('layer.{}.attention.o_proj', 'blocks.{}.attn.proj'),
    ('layer.{}.layer_scale1.lambda1', 'blocks.{}.gamma_1'),
    ('layer.{}.norm2', 'blocks.{}.norm2'),
    ('layer.{}.mlp', 'blocks.{}.mlp'),
    ('layer.{}.layer_scale2.lambda1', 'blocks.{}.gamma_2'),
    ('norm', 'norm'),
)
#: Layers of a gated MLP by library, the gate first, and ours; and of a plain one.
GATED: dict[str, Mapping[str, str]] = {
    'official': {'w1': 'fc1_g', 'w2': 'fc1_x', 'w3': 'fc2'},
    'transformers': {'gate_proj': 'fc1_g', 'up_proj': 'fc1_x', 'down_proj': 'fc2'},
}
UNGATED = {'transformers': {'up_proj': 'fc1', 'down_proj': 'fc2'}}
#: What timm's DINOv3 has in common with other families, and what of these it has not: absolute and
#: relative positions, rotations that are learnt, a bias of the key, norms in attention and MLP.
SCALED = r'blocks\.\d+\.gamma_1$'
UNLIKE = re.compile(
    r'(.*\.)?(pos_embed|rope\.freqs|norm_pre|relative_position|rel_pos)|'
    r'blocks\.\d+\.(attn\.(qkv\.bias|norm|q_norm|k_norm|gate|q_proj)|mlp\.norm)(\.|$)'
)


class DINOv3Family(Family):
    """ViTs of DINOv3 (arXiv 2508.10104): rotary positions, layer scale, plain or gated MLPs."""

    name = 'dinov3'
    title = 'DINOv3 ViT'
    mark = (
        r'storage_tokens$|rope(_embed)?\.periods$|blocks\.\d+\.attn\.qkv\.bias_mask$|'
        r'(model\.)?layer\.\d+\.attention\.[qkvo]_proj\.'
    )
    own = (
        rf'{mark}|rope_embed\.|blocks\.\d+\.(gamma_[12]$|attn\.[qv]_bias$|mlp\.(w[123]|fc1_[gx])\.)'
    )
    classes = ('ManifoldDINOv3',)
    namings = {
        'timm': Naming('timm', TIMM_DINOV3),
        'official': Naming('official', OFFICIAL_DINOV3),
        'transformers': Naming(
            'transformers',
            TRANSFORMERS_DINOV3,
            r'embeddings\.patch_embeddings\.weight',
            is_written=False,
        ),
    }
    signs = (
        ('transformers', r'(model\.)?layer\.\d+\.attention\.'),
        ('official', r'storage_tokens$|rope_embed\.|blocks\.\d+\.(\d+\.)?ls1\.'),
        ('timm', r'blocks\.\d+\.attn\.'),
    )
    peers = ('timm',)
    hints = (
        REGISTER_HINT,
        NORM_HINT,
        CLASS_TOKEN_HINT,
        (r'.*\.attn\.[qv]_bias', 'biases of query and value; set qkv_bias as in the checkpoint'),
    )

    def is_marked(self, names: Iterable[str]) -> bool:
        """As for all; timm's names have no mark, and are known by what is not among them."""
        names = list(names)
        return super().is_marked(names) or (
            'cls_token' in names
            and any(re.match(SCALED, name) for name in names)
            and not any(UNLIKE.match(name) for name in names)
        )

    def tidy(self, inside: dict[str, Tensor]) -> dict[str, Tensor]:
        """Undo chunks of blocks, and the encoder that transformers has had around its layers."""
        pattern = re.compile(r'^(?:(blocks\.)\d+\.(?=\d+\.)|model\.(?=layer\.))')
        return {pattern.sub(lambda m: m[1] or '', name): v for name, v in inside.items()}

    def read(self, weights: Weights, naming: Naming) -> None:
        """Name layers of MLPs and biases as we do, and fuse separate projections."""
        state = weights.state
        library = next(name for name, known in self.namings.items() if known is naming)
        layers = GATED.get(library, {})
        gated = any(f'.mlp.{gate}.' in name for gate in list(layers)[:1] for name in state)
        rename_layers(state, layers if gated else UNGATED.get(library, {}))
        name_separate_biases(state)
        for name in [n for n in state if n.endswith('.attn.key.bias')]:
            refuse_key_bias(name, state.pop(name))
        if library == 'official':
            split_masked_biases(state)
        fuse_projections(weights)
        if state.pop('mask_token', None) is not None:
            weights.entries.append(Entry('dropped', 'mask_token', 'head'))
        for name in [n for n in weights.unknown if re.match(r'(local_)?cls_norm\.', n)]:
            del weights.unknown[name]
            weights.entries.append(Entry('dropped', name, 'of class tokens, which stay inside'))

    def fit(self, state: dict[str, Tensor], model: Any, report: Report) -> None:
        """As for a ViT; the periods tell the heads, and biases that are zero need no place."""
        fit_tokens(state, model, report)
        name, periods = 'rope.periods', model.rope.periods
        if name not in state:
            state[name] = periods.detach().clone()
            report.entries.append(Entry('filled', name, 'not in the checkpoint: worked out'))
        elif state[name].shape != periods.shape:
            dims = model.cls_token.shape[-1]
            found, here = (dims // max(4 * p.numel(), 1) for p in (state[name], periods))
            raise CheckpointError(
                f'the checkpoint has {found} heads (rope.periods), {type(model).__name__} {here}; '
                'choose the arch of the checkpoint'
            )
        theirs = [n for n in state if re.search(r'\.attn\.[qv]_bias$', n)]
        ours = [n for n, _ in model.named_parameters() if re.search(r'\.attn\.[qv]_bias$', n)]
        if not ours and not any(bool(state[n].any()) for n in theirs):
            for n in theirs:
                del state[n]
                report.entries.append(Entry('dropped', n, 'zero'))
        if not theirs:
            for n in ours:
                state[n] = torch.zeros_like(model.get_parameter(n))
                report.entries.append(Entry('filled', n, 'no bias in the checkpoint: zero'))

    def write(
        self, state: dict[str, Tensor], library: str, entries: list[Entry]
    ) -> dict[str, Tensor]:
        """Put biases where the library has them; the official code stores all that follows."""
        split_fused_biases(state, library, self.title)
        if library == 'timm':
            if state.pop('rope.periods', None) is not None:
                entries.append(Entry('dropped', 'rope.periods', 'buffer'))
            return state
        if 'rope.periods' not in state:
            raise CheckpointError(
                'the official naming stores rope_embed.periods, which depend on the number of '
                'heads, and this checkpoint does not tell it; load it into a ManifoldDINOv3, and '
                "convert the backbone's weights"
            )
        state['mask_token'] = torch.zeros_like(state['cls_token'][0])
        for name in [n for n in state if n.endswith('.attn.q_bias')]:
            attention = name.removesuffix('q_bias')
            q_bias, v_bias = state.pop(name), state.pop(f'{attention}v_bias')
            none, one = torch.zeros_like(q_bias), torch.ones_like(q_bias)
            state[f'{attention}qkv.bias'] = torch.cat([q_bias, none, v_bias])
            state[f'{attention}qkv.bias_mask'] = torch.cat([one, none, one])
        if any('.mlp.fc1_g.' in name for name in state):
            rename_layers(state, {ours: theirs for theirs, ours in GATED[library].items()})
        return state

    def peer_timm(self, name: str, size: tuple[int, int]) -> dict[str, Any]:
        """timm's, for images of any size."""
        return dict(model_name=f'vit_{name}_patch16_dinov3', out_indices=[-1])


def rename_layers(state: dict[str, Tensor], names: Mapping[str, str]) -> None:
    """Give the layers of MLPs other names, in place."""
    for name in [n for n in state if '.mlp.' in n]:
        block, _, rest = name.partition('.mlp.')
        layer, _, kind = rest.partition('.')
        if layer in names:
            state[f'{block}.mlp.{names[layer]}.{kind}'] = state.pop(name)


def split_masked_biases(state: dict[str, Tensor]) -> None:
    """Make ``q_bias`` and ``v_bias`` of the official fused bias, whose key's part is masked.

    Raises:
        CheckpointError: If the key has a bias, or the sizes are wrong.
    """
    for name in [n for n in state if n.endswith('.attn.qkv.bias')]:
        bias, mask = state.pop(name), state.pop(f'{name}_mask', None)
        if bias.numel() % 3 or (mask is not None and mask.shape != bias.shape):
            raise CheckpointError(
                f'{name} has the shape {tuple(bias.shape)}, which is not that of query, key and '
                'value and of their mask; the checkpoint is damaged or of another architecture'
            )
        q_bias, k_bias, v_bias = (bias if mask is None else bias * mask.to(bias.dtype)).chunk(3)
        refuse_key_bias(name, k_bias)
        attention = name.removesuffix('qkv.bias')
        state |= {f'{attention}q_bias': q_bias, f'{attention}v_bias': v_bias}


def refuse_key_bias(name: str, bias: Tensor) -> None:
    """Raise CheckpointError for a bias of the key that is not zero: rotated, it would count."""
    if bool(bias.any()):
        raise CheckpointError(
            f'{name} has a bias of the key, which the released DINOv3 masks and ManifoldDINOv3 has '
            'no place for; it was trained with mask_k_bias=False'
        )


DINOV3 = register_family(DINOv3Family())
