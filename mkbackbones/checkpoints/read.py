"""Read a state dict in any supported naming into our layout."""

import re

from torch import Tensor

from .families import FAMILIES, Weights, detect
from .foreign import check_ranks, refuse_foreign, tell_convolutional
from .namings import Naming
from .report import CheckpointError, Entry

#: Parts of pretraining and classification models that are no backbone.
HEADS = re.compile(
    r'(heads?|head_dist|fc_norm|pre_logits|(embeddings\.)?mask_token|decoder_\w+|ln2|pooler|(\w+_)?classifier)(?=\.|$)'
)
BUFFERS = re.compile(r'.*\.(relative_position_index|attn_mask)$')


def read_weights(state: dict[str, Tensor], prefix: str | None = None) -> Weights:
    """Detect the naming of a state dict and translate it into our layout.

    Args:
        state (dict[str, Tensor]): Weights of a backbone or of a model with one, in the naming of
            timm, the official codes, mmpretrain, mmdet, mmseg, transformers or torchvision, or in
            ours.
        prefix (str, optional): What the backbone's names start with; found if left out.

    Raises:
        CheckpointError: If no backbone of a known naming is found, or more than one.
    """
    prefix = find_prefix(state, prefix)
    inside = {name[len(prefix) :]: v for name, v in state.items() if name.startswith(prefix)}
    found = detect(inside)
    if found is not None:
        inside = found[0].tidy(inside)
    refuse_foreign(inside, found and found[0])
    if found is None:
        titles = ', '.join(family.title for family in FAMILIES.values())
        raise CheckpointError(
            f"the naming is not known: below '{prefix}' there are names such as "
            f'{", ".join(list(inside)[:4])}; read are {titles} of timm, the official codes, '
            'mmpretrain, mmdet, mmseg, transformers and torchvision'
        )
    family, library = found
    naming = family.namings[library]
    weights = Weights(family, f'{naming.title} {family.name}', prefix)
    outside = sorted({n.split('.')[0] + '.*' for n in state if not n.startswith(prefix)})
    weights.entries += [Entry('dropped', name, 'outside the backbone') for name in outside]
    translate_names(inside, naming, weights)
    if family.embedding not in weights.state:
        raise CheckpointError(
            f'the checkpoint has blocks of a {family.title} in the naming of {naming.title}, and '
            'its patch embedding has another name; it is of another architecture'
        )
    check_ranks(weights.state)
    family.read(weights, naming)
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
    anchors = (n.anchor for family in FAMILIES.values() for n in family.namings.values())
    places = [find_places(state, anchor) for anchor in dict.fromkeys(anchors)]
    # One library's anchor may be the name of some layer in the head of another's model.
    found = set().union(*places) if wanted is not None else next(filter(None, places), set())
    if wanted is not None:
        wanted = wanted if wanted.endswith('.') or not wanted else wanted + '.'
        if wanted not in found:
            seen = ', '.join(repr(place) for place in sorted(found)) or 'nowhere'
            raise CheckpointError(
                f'prefix={wanted!r} leads to no backbone; patch embeddings were found below: '
                f'{seen}; leave prefix out to have it detected'
            )
        return wanted
    if not found:
        names = ', '.join(list(state)[:4])
        raise CheckpointError(
            'no ViT or Swin was found: no name ends in patch_embed.proj.weight or what other '
            f'libraries call it; the names start with: {names}{tell_convolutional(state)}'
        )
    if len(found) > 1:  # self-supervised and semi-supervised training keeps two networks
        found = {prefix for prefix in found if 'student' not in prefix}
    if len(found) != 1:
        raise CheckpointError(
            f'the checkpoint holds several backbones, below {", ".join(map(repr, sorted(found)))}; '
            'choose one with prefix'
        )
    return found.pop()


def find_places(state: dict[str, Tensor], anchor: str) -> set[str]:
    """What comes before names that match an anchor of :class:`~.namings.Naming`."""
    pattern = re.compile(rf'((?:.*\.)?)(?:{anchor})$')
    return {match[1] for match in map(pattern.match, state) if match}


def translate_names(inside: dict[str, Tensor], naming: Naming, weights: Weights) -> None:
    """Give every entry its name in our layout, or put it aside as unknown."""
    for name, value in inside.items():
        ours = naming.to_ours(name)
        if ours is None:
            weights.unknown[name] = value
        else:
            weights.state[ours] = value
