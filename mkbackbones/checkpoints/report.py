"""What happened to each entry of a checkpoint, in one table."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

#: What became of an entry, see :class:`Entry`.
Status = Literal[
    'missing',
    'unexpected',
    'shape',
    'type',
    'not finite',
    'dropped',
    'moved',
    'resampled',
    'filled',
    'fresh',
    'own init',
]
#: Nothing else is an error with ``strict=True``.
PROBLEMS = ('missing', 'unexpected', 'shape', 'type', 'not finite')


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read, does not fit, or cannot be written in a naming."""


class UntrustedError(CheckpointError):
    """A checkpoint is whole, and holds more than data."""


@dataclass(frozen=True)
class Entry:
    """One row of a report.

    Args:
        status (str): ``missing``, ``unexpected``, ``shape``, ``type`` (no floating-point
            numbers) or ``not finite`` (problems);
            ``dropped`` (heads, buffers, parts that the model was built without), ``moved``,
            ``resampled``, ``filled`` (an absent bias, which is zero; what follows from the sizes),
            ``fresh`` (output norms that no classifier has),
            ``own init`` (keys that cannot start from a stock projection).
        name (str): Name in the project's layout, or the checkpoint's where ours has none.
        detail (str): Reason or sizes.
    """

    status: Status
    name: str
    detail: str = ''


@dataclass
class Report:
    """How a checkpoint fitted.

    Args:
        source (str): What was read.
        naming (str): The naming that was detected.
        target (str): What it was read for.
        loaded (int): Entries of the target that the checkpoint gave a value.
        total (int): Entries of the target, a manifold key counted as the stock projection.
        entries (list[Entry]): Everything that was not simply taken over.
    """

    source: str
    naming: str
    target: str
    loaded: int = 0
    total: int = 0
    entries: list[Entry] = field(default_factory=list)

    def names(self, status: Status) -> list[str]:
        """Names of the entries with a status."""
        return [entry.name for entry in self.entries if entry.status == status]

    @property
    def missing(self) -> list[str]:
        """What the model has and the checkpoint lacks."""
        return self.names('missing')

    @property
    def unexpected(self) -> list[str]:
        """What the checkpoint has and the model lacks."""
        return self.names('unexpected')

    @property
    def mismatched(self) -> list[str]:
        """What both have, in shapes that do not fit."""
        return self.names('shape')

    @property
    def dropped(self) -> list[str]:
        """Heads, buffers and other parts that are left out on purpose."""
        return self.names('dropped')

    @property
    def own_init(self) -> list[str]:
        """Manifold keys that keep their own initial values."""
        return self.names('own init')

    @property
    def problems(self) -> list[Entry]:
        """The entries that ``strict=True`` turns into an error."""
        return [entry for entry in self.entries if entry.status in PROBLEMS]

    def __str__(self) -> str:
        head = (
            f'{self.source} ({self.naming} naming): '
            f'{self.loaded} of {self.total} entries of {self.target}'
        )
        return f'{head}\n{format_table(self.entries)}' if self.entries else head


def format_table(entries: Iterable[Entry]) -> str:
    """A table of entries, problems first; names that differ in numbers alone share a row."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for entry in entries:
        key = (entry.status, re.sub(r'\b\d+\b', '*', entry.name), entry.detail)
        groups.setdefault(key, []).append(entry.name)
    rows = []
    for (status, pattern, detail), names in groups.items():
        if len(names) > 2:
            names = [f'{pattern} ({len(names)})']
        rows += [(status, name, detail) for name in names]
    rows.sort(key=lambda row: row[0] not in PROBLEMS)
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return '\n'.join(
        f'  {status:<{widths[0]}}  {name:<{widths[1]}}  {detail}'.rstrip()
        for status, name, detail in rows
    )
