"""What a library calls the weights, next to our names: one table, read in both directions."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

#: Pairs (their name, our name) of modules and parameters; ``{}`` is an index, ``{+1}`` one more.
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Naming:
    """The names of one library, or of several that agree.

    Args:
        title (str): Name for reports.
        pairs (Pairs): Their names and ours.
        anchor (str): Pattern of a name that each network has once, at the end of a name: what comes
            before is the prefix of the backbone.
        is_written (bool): Whether weights are also written in this naming.
    """

    title: str
    pairs: Pairs
    anchor: str = r'patch_embed\.proj(?:ection)?\.weight'
    is_written: bool = True

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
