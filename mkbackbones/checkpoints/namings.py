"""What each library calls the weights, next to our names: one table, read in both directions."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

#: Pairs (their name, our name) of modules and parameters; ``{}`` is an index, ``{+1}`` one more.
Pairs = tuple[tuple[str, str], ...]

OFFICIAL_SWIN: Pairs = (
    ('patch_embed.proj', 'patch_embed.proj'),
    ('patch_embed.norm', 'patch_embed.norm'),
    ('layers.{}.blocks.{}.norm1', 'layers.{}.blocks.{}.norm1'),
    ('layers.{}.blocks.{}.attn', 'layers.{}.blocks.{}.attn'),
    ('layers.{}.blocks.{}.norm2', 'layers.{}.blocks.{}.norm2'),
    ('layers.{}.blocks.{}.mlp', 'layers.{}.blocks.{}.mlp'),
    ('layers.{}.downsample', 'layers.{}.downsample'),
    ('norm{}', 'norm{}'),
    ('norm', 'norm'),  # the classifier's
)
# timm merges patches at the start of a stage, the official code at the end of the one before.
TIMM_SWIN: Pairs = tuple(
    ('layers.{+1}.downsample', ours) if ours == 'layers.{}.downsample' else (theirs, ours)
    for theirs, ours in OFFICIAL_SWIN
)
MM_SWIN: Pairs = (
    ('patch_embed.projection', 'patch_embed.proj'),
    ('patch_embed.norm', 'patch_embed.norm'),
    ('stages.{}.blocks.{}.norm1', 'layers.{}.blocks.{}.norm1'),
    ('stages.{}.blocks.{}.attn.w_msa', 'layers.{}.blocks.{}.attn'),
    ('stages.{}.blocks.{}.norm2', 'layers.{}.blocks.{}.norm2'),
    ('stages.{}.blocks.{}.ffn.layers.0.0', 'layers.{}.blocks.{}.mlp.fc1'),
    ('stages.{}.blocks.{}.ffn.layers.1', 'layers.{}.blocks.{}.mlp.fc2'),
    ('stages.{}.downsample', 'layers.{}.downsample'),
    ('norm{}', 'norm{}'),
    ('norm', 'norm'),  # the classifier's
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


@dataclass(frozen=True)
class Naming:
    """The names of one library, or of several that agree.

    Args:
        title (str): Name for reports.
        pairs (Pairs): Their names and ours.
        unfolded (bool): Whether Swin's patch merging reads 2x2 pixels in the order of ``nn.Unfold``
            (channel by channel, row by row) instead of the official one.
        stores_index (bool): Whether Swin's ``relative_position_index`` is stored.
    """

    title: str
    pairs: Pairs
    unfolded: bool = False
    stores_index: bool = False

    def to_ours(self, name: str) -> str | None:
        """Our name for one of theirs; None where there is none."""
        return rename(name, self._readers)

    def to_theirs(self, name: str) -> str | None:
        """Their name for one of ours; None where the naming cannot hold it."""
        return rename(name, self._writers)

    @cached_property
    def _readers(self) -> list:
        return [compile_pair(theirs, ours) for theirs, ours in self.pairs]

    @cached_property
    def _writers(self) -> list:
        return [compile_pair(ours, theirs) for theirs, ours in self.pairs]


Rule = tuple[re.Pattern, Callable[[re.Match], str]]
PLACEHOLDER = re.compile(r'\{(\+1)?\}')


def compile_pair(source: str, target: str) -> Rule:
    """A pattern for names that start with ``source``, and what turns a match into ``target``."""
    parts = PLACEHOLDER.split(source)  # text, offset, text, offset, ..., text
    pattern = re.compile(r'(\d+)'.join(map(re.escape, parts[::2])) + r'(?=\.|$)')
    offsets = zip(parts[1::2], PLACEHOLDER.split(target)[1::2])
    shifts = [(new is not None) - (old is not None) for old, new in offsets]
    template = PLACEHOLDER.sub('{}', target)

    def fill(match: re.Match) -> str:
        return template.format(*(int(i) + shift for i, shift in zip(match.groups(), shifts)))

    return pattern, fill


def rename(name: str, rules: list[Rule]) -> str | None:
    """Apply the rule that fits; None if none does."""
    for pattern, fill in rules:
        match = pattern.match(name)
        if match:
            return fill(match) + name[match.end() :]
    return None


_MM_SWIN = Naming('mmdet, mmseg, mmpretrain', MM_SWIN, unfolded=True, stores_index=True)
#: Namings by layout and library.
NAMINGS: dict[str, dict[str, Naming]] = {
    'swin': {
        'timm': Naming('timm', TIMM_SWIN),
        'official': Naming('official', OFFICIAL_SWIN, stores_index=True),
        'mmdet': _MM_SWIN,
        'mmseg': _MM_SWIN,
        'mmpretrain': _MM_SWIN,
    },
    'vit': {
        'timm': Naming('timm', TIMM_VIT),
        'official': Naming('official (DeiT, MAE, DINOv2)', OFFICIAL_VIT),
        'mmpretrain': Naming('mmpretrain', MMPRETRAIN_VIT),
        'mmseg': Naming('mmseg', MMSEG_VIT),
    },
}

#: What tells layout and naming from the names, the first that fits; timm's and the official Swin
#: differ in where patches are merged.
SIGNS = (
    ('swin', 'mmdet', re.compile(r'stages\.\d+\.blocks\.\d+\.')),
    ('swin', 'official', re.compile(r'layers\.0\.downsample\.')),
    ('swin', 'timm', re.compile(r'layers\.\d+\.downsample\.')),
    ('swin', 'official', re.compile(r'layers\.\d+\.blocks\.\d+\.')),
    ('vit', 'mmseg', re.compile(r'layers\.\d+\.attn\.attn\.')),
    ('vit', 'mmpretrain', re.compile(r'layers\.\d+\.(ln1|attn\.qkv)\.')),
    ('vit', 'timm', re.compile(r'blocks\.\d+\.attn\.')),
)


def detect(names: list[str]) -> tuple[str, str] | None:
    """Tell the layout (``swin`` or ``vit``) and the naming from the names; None if unknown."""
    for layout, naming, sign in SIGNS:
        if any(sign.match(name) for name in names):
            return layout, naming
    return None
