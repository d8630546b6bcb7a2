"""The distributions that own mmengine, mmcv, mmdet and mmseg, as their metadata tell.

No library is imported for it, and ``importlib.metadata`` only when something is asked: it takes
longer to import than this package.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from importlib.util import find_spec
from pathlib import Path

from .names import OWNERS, Line

__all__ = ['Distribution', 'Library', 'look', 'version_in']


@dataclass(frozen=True)
class Distribution:
    """A distribution that has a module.

    Args:
        name (str): What pip calls it.
        version (str): Of its metadata.
        line (str): ``'original'`` or ``'maintained'``.
        gone (tuple[str, ...]): Python files that it has installed and that are not there any more.
    """

    name: str
    version: str
    line: Line
    gone: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f'{self.name} {self.version}'


@dataclass(frozen=True)
class Library:
    """A module of OpenMMLab as it is installed.

    Args:
        module (str): Its name in an import.
        owners (tuple[Distribution, ...]): The distributions that have installed it.
        folder (Path | None): Where it lies; None where it cannot be imported.
        version (str | None): What its files say, or else its only owner.
    """

    module: str
    owners: tuple[Distribution, ...] = ()
    folder: Path | None = None
    version: str | None = None

    @property
    def line(self) -> Line | None:
        """The line that it is of; of two owners, the one whose version its files have."""
        lines = {owner.line for owner in self.owners}
        if len(lines) > 1:
            lines = {owner.line for owner in self.owners if owner.version == self.version}
        return lines.pop() if len(lines) == 1 else None

    @property
    def is_compiled(self) -> bool:
        """Whether it has the compiled operators of mmcv."""
        names = [f'_ext{suffix}' for suffix in EXTENSION_SUFFIXES]
        return self.folder is not None and any((self.folder / name).is_file() for name in names)


def look(path: Sequence[str] | None = None, thorough: bool = False) -> dict[str, Library]:
    """Find out what is installed.

    Args:
        path (Sequence[str] | None): Where to look; None for where Python does.
        thorough (bool): Look for each Python file that was installed: some 20 ms.

    Returns:
        dict[str, Library]: By module.
    """
    return {module: look_at(module, path, thorough) for module in OWNERS}


def look_at(module: str, path: Sequence[str] | None, thorough: bool) -> Library:
    """Find out about a single module, see :func:`look`."""
    from importlib.metadata import Distribution as Metadata

    places = sys.path if path is None else list(path)
    owners = []
    for name, line in OWNERS[module].items():
        found = next(iter(Metadata.discover(name=name, path=places)), None)
        if found is None:
            continue
        gone: list[str] = []
        if thorough:
            gone = gone_of(
                module, found.read_text('RECORD') or '', Path(str(found.locate_file('')))
            )
        owners.append(Distribution(name, found.version or 'without a version', line, tuple(gone)))
    folder = folder_of(module, path)
    version = version_in(folder) if folder else None
    if version is None and len(owners) == 1:
        version = owners[0].version
    return Library(module, tuple(owners), folder, version)


def gone_of(module: str, record: str, root: Path) -> list[str]:
    """Python files of a module that a distribution has recorded, and that are not there."""
    names = (line.partition(',')[0] for line in record.splitlines())
    return [
        name
        for name in names
        if name.startswith(f'{module}/')
        and name.endswith('.py')
        and '/.mim/' not in name
        and not os.path.exists(root / name)
    ]


def folder_of(module: str, path: Sequence[str] | None) -> Path | None:
    """Where a module lies; None if there is none, or nothing but a folder without its files."""
    try:
        spec = find_spec(module) if path is None else PathFinder.find_spec(module, path)
    except (ImportError, ValueError, AttributeError):  # a stub in sys.modules, a broken finder
        return None
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def version_in(folder: Path) -> str | None:
    """What ``version.py`` of a package says; None where it is silent."""
    try:
        text = (folder / 'version.py').read_text(encoding='utf-8', errors='replace')
    except OSError:
        return None
    found = re.search(r'^(?:__version__|short_version)\s*=\s*[\'"]([^\'"]+)', text, re.M)
    return found.group(1) if found else None
