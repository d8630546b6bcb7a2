"""Read a state dict in any supported naming into our layout."""

import re
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .foreign import check_ranks, refuse_foreign, refuse_naming
from .namings import NAMINGS, Naming, detect
from .report import CheckpointError, Entry
from .tensors import count_prefix, merging_from_unfold, standard_table

ANCHOR = re.compile(r'((?:.*\.)?)patch_embed\.proj(?:ection)?\.weight$')
#: Parts of pretraining and classification models that are no backbone.
HEADS = re.compile(r'(head|head_dist|fc_norm|pre_logits|mask_token|decoder_\w+|ln2)(?=\.|$)')
BUFFERS = re.compile(r'.*\.(relative_position_index|attn_mask)$')


@dataclass
class Weights:
    """The weights of a backbone in our layout.

    Args:
        layout (str): ``swin`` or ``vit``.
        naming (str): Title of the naming that they came in.
        prefix (str): What came before each of the backbone's names.
        state (dict[str, Tensor]): The weights by our names.
        unknown (dict[str, Tensor]): Entries of the backbone that our layout has no name for.
        entries (list[Entry]): What was left out or moved, for the report.
    """

    layout: str
    naming: str
    prefix: str
    state: dict[str, Tensor] = field(default_factory=dict)
    unknown: dict[str, Tensor] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)


def read_weights(state: dict[str, Tensor], prefix: str | None = None) -> Weights:
    """Detect the naming of a state dict and translate it into our layout.

    Args:
        state (dict[str, Tensor]): Weights of a backbone or of a model with one, in the naming of
            timm, the official codes, mmpretrain, mmdet or mmseg, or in ours.
        prefix (str, optional): What the backbone's names start with; found if left out.

    Raises:
        CheckpointError: If no backbone of a known naming is found, or more than one.
    """
    prefix = find_prefix(state, prefix)
    inside = {name[len(prefix) :]: v for name, v in state.items() if name.startswith(prefix)}
    inside = {re.sub(r'^blocks\.\d+\.(\d+)\.', r'blocks.\1.', n): v for n, v in inside.items()}
    refuse_foreign(inside)
    found = detect(list(inside))
    if found is None:
        raise CheckpointError(
            f"the naming is not known: below '{prefix}' there are names such as "
            f'{", ".join(list(inside)[:4])}; read are ViT and Swin of timm, the official codes, '
            'mmpretrain, mmdet and mmseg'
        )
    layout, library = found
    naming = NAMINGS[layout][library]
    weights = Weights(layout, f'{naming.title} {layout}', prefix)
    outside = sorted({n.split('.')[0] + '.*' for n in state if not n.startswith(prefix)})
    weights.entries += [Entry('dropped', name, 'outside the backbone') for name in outside]
    translate_names(inside, naming, weights)
    check_ranks(weights.state)
    read_swin(inside, naming, weights) if layout == 'swin' else read_vit(weights)
    for name in list(weights.unknown):
        reason = 'head' if HEADS.match(name) else 'buffer' if BUFFERS.match(name) else None
        if reason:
            del weights.unknown[name]
            weights.entries.append(Entry('dropped', name, reason))
    return weights


def find_prefix(state: dict[str, Tensor], wanted: str | None = None) -> str:
    """What the names of the backbone start with, from the place of its patch embedding.

    Raises:
        CheckpointError: If there is no backbone, or more than one, or not where ``wanted`` says.
    """
    found = {match[1] for match in map(ANCHOR.match, state) if match}
    if wanted is not None:
        wanted = wanted if wanted.endswith('.') or not wanted else wanted + '.'
        if wanted not in found:
            places = ', '.join(repr(place) for place in sorted(found)) or 'nowhere'
            raise CheckpointError(
                f'prefix={wanted!r} leads to no backbone; patch embeddings were found below: '
                f'{places}; leave prefix out to have it detected'
            )
        return wanted
    if not found:
        refuse_naming(state)
        names = ', '.join(list(state)[:4])
        raise CheckpointError(
            'no ViT or Swin was found: no name ends in patch_embed.proj.weight or '
            f'patch_embed.projection.weight; the names start with: {names}'
        )
    if len(found) > 1:  # self-supervised and semi-supervised training keeps two networks
        found = {prefix for prefix in found if 'student' not in prefix}
    if len(found) != 1:
        raise CheckpointError(
            f'the checkpoint holds several backbones, below {", ".join(map(repr, sorted(found)))}; '
            'choose one with prefix'
        )
    return found.pop()


def translate_names(inside: dict[str, Tensor], naming: Naming, weights: Weights) -> None:
    """Give every entry its name in our layout, or put it aside as unknown."""
    for name, value in inside.items():
        ours = naming.to_ours(name)
        if ours is None:
            weights.unknown[name] = value
        else:
            weights.state[ours] = value


def read_swin(inside: dict[str, Tensor], naming: Naming, weights: Weights) -> None:
    """Bring patch merging and position bias into the official order, and place the final norm."""
    state, unknown = weights.state, weights.unknown
    for name in [n for n in state if n.endswith('.relative_position_index')]:
        index, table = state.pop(name), name.replace('_index', '_bias_table')
        ordered = standard_table(state[table], index) if table in state else None
        if ordered is None and table in state:
            raise CheckpointError(
                f'{name} {tuple(index.shape)} does not belong to its bias table '
                f'{tuple(state[table].shape)}; the checkpoint is damaged or of another architecture'
            )
        if ordered is None:
            unknown[name] = index
            continue
        state[table] = ordered
        weights.entries.append(Entry('dropped', name, 'buffer'))
    if naming.unfolded:
        for name in [n for n in state if '.downsample.' in n]:
            state[name] = merging_from_unfold(state[name])
    last = max(int(n.split('.')[1]) for n in state if n.startswith('layers.'))
    for name in [n for n in state if n.startswith('norm.')]:
        ours = name.replace('norm', f'norm{last}')
        if ours in state:
            unknown[name] = state.pop(name)
        else:
            state[ours] = state.pop(name)
            weights.entries.append(Entry('moved', ours, "the classifier's final norm"))


def read_vit(weights: Weights) -> None:
    """Name the extra tokens as we do, and give the position embedding our extent.

    With register tokens it covers the patches only, timm's rule; without, the class token too.
    A distillation token is a register token: it takes part in the attention and is not returned.
    """
    state, unknown = weights.state, weights.unknown
    registers = [state.pop('reg_token', None), unknown.pop('register_tokens', None)]
    registers.append(unknown.pop('dist_token', None))
    registers = [token for token in registers if token is not None]
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
