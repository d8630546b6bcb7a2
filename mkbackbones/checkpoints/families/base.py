"""A family of backbones, as checkpoints know it; and the weights of one of its members."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..namings import Naming
from ..report import CheckpointError, Entry, Report

#: The patch embedding of transformers' models.
TRANSFORMERS_ANCHOR = r'embeddings\.patch_embeddings\.projection\.weight'


@dataclass
class Weights:
    """The weights of a backbone in our layout.

    Args:
        family (Family): What kind of backbone it is.
        naming (str): Title of the naming that they came in.
        prefix (str): What came before each of the backbone's names.
        state (dict[str, Tensor]): The weights by our names.
        unknown (dict[str, Tensor]): Entries of the backbone that our layout has no name for.
        entries (list[Entry]): What was left out or moved, for the report.
    """

    family: Family
    naming: str
    prefix: str
    state: dict[str, Tensor] = field(default_factory=dict)
    unknown: dict[str, Tensor] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)


class Family:
    """All that reading, fitting, writing and folding checkpoints know of one kind of backbones.

    A subclass says what is particular to it; one instance is registered by
    :func:`register_family`, and backbones name it as their ``family``.
    """

    #: Name, unique among the families; a short name for profiles, e.g. ``swin-t``.
    name: ClassVar[str]
    #: Name in sentences.
    title: ClassVar[str]
    #: Namings by library.
    namings: ClassVar[Mapping[str, Naming]]
    #: What tells the library from the names of a backbone, the first that fits: pairs (library,
    #: pattern).
    signs: ClassVar[tuple[tuple[str, str], ...]]
    #: Pattern of names that no other family has. Where it is seen, the family comes before those
    #: without one; where not, the family is out of the question.
    mark: ClassVar[str | None] = None
    #: Pattern of names that are its own where it was recognised, and signs of something else
    #: elsewhere (:mod:`mkbackbones.checkpoints.foreign`). None: those of :attr:`mark`.
    own: ClassVar[str | None] = None
    #: Names of the classes, in any library, whose arguments mean the same.
    classes: ClassVar[tuple[str, ...]] = ()
    #: Libraries whose own backbones may be profiled next to ours.
    peers: ClassVar[tuple[str, ...]] = ()
    #: The entry whose first size is the number of channels.
    embedding: ClassVar[str] = 'patch_embed.proj.weight'
    #: What to do about an entry that only one side has: pairs (pattern, sentence).
    hints: ClassVar[tuple[tuple[str, str], ...]] = ()

    def tidy(self, inside: dict[str, Tensor]) -> dict[str, Tensor]:
        """Undo what the names of a checkpoint hold beside the naming's."""
        return inside

    def read(self, weights: Weights, naming: Naming) -> None:
        """Bring what was renamed into our order; moves between state, unknown and entries.

        Raises:
            CheckpointError: If the checkpoint is damaged.
        """

    def fit(self, state: dict[str, Tensor], model: Any, report: Report) -> None:
        """Resample to the sizes of a backbone, and leave out what it was built without."""

    def excuse(self, weights: Weights, report: Report) -> None:
        """Rename entries of the report that are no loss."""

    def write(
        self, state: dict[str, Tensor], library: str, entries: list[Entry]
    ) -> dict[str, Tensor]:
        """Bring weights in our layout into a library's order, still by our names.

        Raises:
            CheckpointError: If the library cannot hold them.
        """
        return state

    def facts(self, backbone: Any) -> dict[str, Any]:
        """What :meth:`stock_config` needs of a model that its weights do not tell."""
        return {}

    def stock_config(self, weights: Weights, library: str, **facts: Any) -> dict[str, Any] | None:
        """The config of a library's own backbone that loads the weights in its naming.

        Args:
            weights (Weights): Weights in our layout.
            library (str): An OpenMMLab library that has a naming.
            facts: What :meth:`facts` gives.

        Returns:
            dict | None: The config; None where the weights alone do not tell it.
        """
        return None

    def peer_config(self, library: str, name: str, arch: dict) -> dict[str, Any]:
        """The config of an OpenMMLab library's own backbone, for a profile next to ours.

        Args:
            library (str): One of :attr:`peers`.
            name (str): Name of the architecture.
            arch (dict): What our backbone's table of architectures says of it.
        """
        raise NotImplementedError

    def peer_timm(self, name: str, size: tuple[int, int]) -> dict[str, Any]:
        """Arguments of ``timm.create_model``, for a profile next to ours.

        Args:
            name (str): Name of the architecture.
            size (tuple[int, int]): Image height and width, in pixels.
        """
        raise NotImplementedError

    def is_marked(self, names: Iterable[str]) -> bool:
        """Whether a name is seen that no other family has."""
        return self.mark is not None and any(re.match(self.mark, name) for name in names)

    def is_own(self, name: str) -> bool:
        """Whether a name is no sign of another architecture, in a member of the family."""
        pattern = self.own or self.mark
        return pattern is not None and re.match(pattern, name) is not None

    def find_naming(self, names: Iterable[str]) -> str | None:
        """The library whose sign is seen among the names of a backbone."""
        names = list(names)
        for library, sign in self.signs:
            if any(re.match(sign, name) for name in names):
                return library
        return None


#: The families by name.
FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> Family:
    """Make a family known to reading and writing, also one from outside of the package.

    Raises:
        ValueError: If another class has its name.
    """
    known = FAMILIES.setdefault(family.name, family)
    if type(known) is not type(family):
        raise ValueError(
            f"the family '{family.name}' exists already ({type(known).__name__}); give "
            f'{type(family).__name__} another name'
        )
    return known


def detect(names: Iterable[str]) -> tuple[Family, str] | None:
    """Tell the family and the library from the names of a backbone; None if unknown."""
    names = list(names)
    marked = [family for family in FAMILIES.values() if family.is_marked(names)]
    for family in marked or [family for family in FAMILIES.values() if family.mark is None]:
        library = family.find_naming(names)
        if library is not None:
            return family, library
    return None


def fuse_projections(weights: Weights) -> None:
    """Put ``attn.query``, ``attn.key`` and ``attn.value`` into one ``attn.qkv``, in place.

    Raises:
        CheckpointError: If one is missing, or their sizes differ.
    """
    state = weights.state
    for name in [name for name in state if '.attn.query.' in name]:
        parts = [name.replace('.query.', f'.{part}.') for part in ('query', 'key', 'value')]
        lacking = next((part for part in parts if part not in state), None)
        shapes = {tuple(state[part].shape) for part in parts if part in state}
        if lacking is not None or len(shapes) > 1 or () in shapes:
            reason = f'{lacking} is missing' if lacking else f'they have the shapes {shapes}'
            raise CheckpointError(
                f'{name} has no key and value of its size: {reason}; the checkpoint is damaged or '
                'of another architecture'
            )
        state[name.replace('.query.', '.qkv.')] = torch.cat([state.pop(part) for part in parts])


def name_separate_biases(state: dict[str, Tensor]) -> None:
    """Name the biases of separate query and value as those beside a fused projection, in place."""
    for name in [n for n in state if n.endswith(('.attn.query.bias', '.attn.value.bias'))]:
        ours = name.replace('.query.bias', '.q_bias').replace('.value.bias', '.v_bias')
        state[ours] = state.pop(name)


def split_fused_biases(state: dict[str, Tensor], library: str, title: str) -> None:
    """Add biases of fused projections, of folded keys, to ``q_bias`` and ``v_bias``, in place.

    Raises:
        CheckpointError: If the key has one: the library has no place for it.
    """
    for name in [n for n in state if n.endswith('.attn.qkv.bias')]:
        q_bias, k_bias, v_bias = state.pop(name).chunk(3)
        if bool(k_bias.any()):
            raise CheckpointError(
                f'{library} has no place for the key bias of {name}: in {title} the key has '
                'none. Of the keys, LinearK folds into that'
            )
        attention = name.removesuffix('qkv.bias')
        for side, bias in (('q_bias', q_bias), ('v_bias', v_bias)):
            state[attention + side] = state.get(attention + side, 0) + bias


def drop(state: dict[str, Tensor], name: str, reason: str, report: Report) -> None:
    """Leave an entry out, with a reason."""
    del state[name]
    report.entries.append(Entry('dropped', name, reason))


def replace(state: dict[str, Tensor], name: str, value: Tensor, report: Report) -> None:
    """Set a resampled value and report it if its shape changed."""
    before, state[name] = tuple(state[name].shape), value
    if tuple(value.shape) != before:
        detail = f'{before} to {tuple(value.shape)}'
        report.entries.append(Entry('resampled', name, detail))


def mlp_width(state: dict[str, Tensor], block: str) -> int:
    """Hidden channels of a block's MLP."""
    return state[f'{block}.mlp.fc1.weight'].shape[0]
