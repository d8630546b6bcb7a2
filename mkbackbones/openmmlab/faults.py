"""What is wrong with the OpenMMLab that is installed, each with the command that mends it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from .distributions import Distribution, Library, look
from .names import OWNERS, Line

__all__ = ['Fault', 'fault_of', 'find_faults', 'line_to_keep']

Kind = Literal['missing', 'doubled', 'mixed', 'damaged', 'refused']

#: What to install where a library of a line is missing: mmdet 3.3 and mmseg 1.2 refuse mmcv 2.2.
INSTALL: dict[Line, dict[str, str]] = {
    'original': {
        'mmengine': 'mmengine',
        'mmcv': "'mmcv-lite<2.2'",
        'mmdet': 'mmdet',
        'mmseg': 'mmsegmentation',
    },
    'maintained': {
        'mmengine': 'onedl-mmengine',
        'mmcv': 'onedl-mmcv',
        'mmdet': 'onedl-mmdetection',
        'mmseg': 'onedl-mmsegmentation',
    },
}
#: What the others need.
NEEDED_BY = {'mmengine': ('mmcv', 'mmdet', 'mmseg'), 'mmcv': ('mmdet', 'mmseg')}
LIMIT = re.compile(r'^(mmcv|mmengine)_(min|max)(?:imum_version)?\s*=\s*[\'"]([^\'"]+)', re.I | re.M)


@dataclass(frozen=True)
class Fault:
    """Something that is wrong.

    Args:
        kind (str): ``'missing'``, ``'doubled'``, ``'mixed'``, ``'damaged'`` or ``'refused'`` (a
            version that another library does not take).
        breaks (frozenset[str]): Modules that cannot be imported for it; the others still work.
        sentence (str): What is wrong.
        command (str): What mends it.
    """

    kind: Kind
    breaks: frozenset[str]
    sentence: str
    command: str

    def __str__(self) -> str:
        return f'{self.sentence}: {self.command}'


def find_faults(libraries: Mapping[str, Library]) -> list[Fault]:
    """Say what is wrong.

    Args:
        libraries (Mapping[str, Library]): What is installed, from :func:`look`.
    """
    if not any(library.owners or library.folder for library in libraries.values()):
        return [absent('mmengine', libraries)]
    refused = refusals(libraries)
    hurt = {name: damaged(library) for name, library in libraries.items() if is_damaged(library)}
    found = crossed(libraries, [*refused, *hurt.values()])
    if found:  # what mends it mends the rest
        again = set(to_reinstall(libraries, line_to_keep(libraries)))
        hurt = {name: fault for name, fault in hurt.items() if name not in again}
    else:
        found = refused
    found += hurt.values()
    for module, dependents in NEEDED_BY.items():
        needed = module == 'mmengine' or any(libraries[name].folder for name in dependents)
        if needed and not libraries[module].folder and not libraries[module].owners:
            found.append(absent(module, libraries))
    return found


def fault_of(module: str, libraries: Mapping[str, Library] | None = None) -> Fault | None:
    """Why a module cannot be imported; None if nothing is known against it.

    Args:
        module (str): mmengine, mmcv, mmdet or mmseg.
        libraries (Mapping[str, Library] | None): What is installed; None to find out.
    """
    libraries = look(thorough=True) if libraries is None else libraries
    for fault in find_faults(libraries):
        if module in fault.breaks:
            return fault
    if libraries[module].folder is None:
        return absent(module, libraries)
    return None


def absent(module: str, libraries: Mapping[str, Library]) -> Fault:
    """Tell of a library that is not installed, or of all of them."""
    breaks = frozenset([module, *NEEDED_BY.get(module, ())])
    if not any(library.owners or library.folder for library in libraries.values()):
        names = ' '.join(INSTALL['maintained'].values())
        modules = ', '.join(OWNERS)
        return Fault(
            'missing', breaks, f'OpenMMLab is not installed ({modules})', f'pip install {names}'
        )
    name = INSTALL[line_to_keep(libraries)][module]
    return Fault('missing', breaks, f'{module} is not installed', f'pip install {name}')


def is_damaged(library: Library) -> bool:
    """Whether a library was installed, and part of it is not there any more."""
    if not library.owners:
        return False
    return library.folder is None or any(owner.gone for owner in library.owners)


def damaged(library: Library) -> Fault:
    """Tell of a library whose files are gone."""
    owner = preferred(library, library.line or 'maintained')
    gone = [name for each in library.owners for name in each.gone]
    which = gone[0] if gone else f'{library.module}/__init__.py'
    more = f' and {len(gone) - 1} more' if len(gone) > 1 else ''
    others = [each.name for each in library.owners if each != owner]
    command = f'pip install --force-reinstall --no-deps {owner.name}=={owner.version}'
    if others:
        command = f'pip uninstall -y {" ".join(others)} && {command}'
    return Fault(
        'damaged',
        frozenset([library.module, *NEEDED_BY.get(library.module, ())]),
        f'{owner} is registered, but files of it are gone ({which}{more}), as happens when the '
        'other line of OpenMMLab is uninstalled',
        command,
    )


def crossed(libraries: Mapping[str, Library], others: Iterable[Fault]) -> list[Fault]:
    """Tell of two lines over one another, or beside one another.

    Args:
        libraries (Mapping[str, Library]): What is installed.
        others (Iterable[Fault]): What follows from that.
    """
    breaks = frozenset().union(*(fault.breaks for fault in others))
    doubled = [library for library in libraries.values() if len(library.owners) > 1]
    if doubled:
        who = ', '.join(f'{each.module} by {both(each.owners)}' for each in doubled)
        sentence = (
            f'libraries of OpenMMLab are installed twice, over one another ({who}), so that '
            'uninstalling one would delete files of the other'
        )
        return [Fault('doubled', breaks, sentence, unify(libraries))]
    lines = {library.line for library in libraries.values() if library.line}
    if len(lines) < 2:
        return []
    parts = [
        f'{", ".join(str(each.owners[0]) for each in libraries.values() if each.line == line)} '
        f'of the {line} one'
        for line in sorted(lines, reverse=True)
    ]
    sentence = f'two lines of OpenMMLab are mixed ({"; ".join(parts)})'
    return [Fault('mixed', breaks, sentence, unify(libraries))]


def both(owners: Iterable[Distribution]) -> str:
    """Names and versions, with an "and"."""
    return ' and '.join(map(str, owners))


def line_to_keep(libraries: Mapping[str, Library]) -> Line:
    """The line that most of what is installed is of; compiled operators take long to build."""
    votes: dict[Line, int] = {'maintained': 0, 'original': 0}
    for library in libraries.values():
        if library.line:
            votes[library.line] += 10 if library.is_compiled else 1
    return 'original' if votes['original'] > votes['maintained'] else 'maintained'


def preferred(library: Library, line: Line) -> Distribution:
    """The owner to keep: of the line, with the version of the files, and compiled if they are."""

    def rank(owner: Distribution) -> tuple[bool, bool, bool]:
        compiled = not owner.name.endswith('-lite')
        return (
            owner.line == line,
            owner.version == library.version,
            compiled == library.is_compiled,
        )

    return max(library.owners, key=rank)


def to_reinstall(libraries: Mapping[str, Library], line: Line) -> list[str]:
    """Modules that are not of a line, or not of it alone."""
    return [
        module
        for module, library in libraries.items()
        if len(library.owners) > 1 or library.line not in (line, None)
    ]


def unify(libraries: Mapping[str, Library]) -> str:
    """The command after which there is one line alone."""
    line = line_to_keep(libraries)
    remove, add, known = [], [], True
    for module in to_reinstall(libraries, line):
        library = libraries[module]
        remove += [owner.name for owner in library.owners]
        owner = preferred(library, line)
        if owner.line == line:
            add.append(f'{owner.name}=={owner.version}')
        else:
            known = False
            add.append(INSTALL[line][module])
    options = '--no-deps ' if known else ''
    return f'pip uninstall -y {" ".join(remove)} && pip install {options}{" ".join(add)}'


def refusals(libraries: Mapping[str, Library]) -> list[Fault]:
    """Tell which library does not take a version of another one, by its ``__init__.py``."""
    found = []
    for module in ('mmdet', 'mmseg'):
        folder = libraries[module].folder
        try:
            text = (folder / '__init__.py').read_text(encoding='utf-8') if folder else ''
        except (OSError, ValueError):
            continue
        limits: dict[str, dict[str, str]] = {}
        for name, end, version in LIMIT.findall(text):
            limits.setdefault(name.lower(), {})[end.lower()] = version
        for name, ends in limits.items():
            version = libraries[name].version
            if version is None or fits(version, ends.get('min'), ends.get('max')):
                continue
            wanted = ','.join(
                sign + ends[end] for sign, end in (('>=', 'min'), ('<', 'max')) if end in ends
            )
            owner = libraries[name].owners[0].name if libraries[name].owners else name
            found.append(
                Fault(
                    'refused',
                    frozenset([module]),
                    f'{module} {libraries[module].version} takes {name} {wanted} and refuses '
                    f'{version}, which is installed',
                    f"pip install '{owner}{wanted}'",
                )
            )
    return found


def fits(version: str, least: str | None, end: str | None) -> bool:
    """Whether a version is within limits; what cannot be read is left to the library."""
    from packaging.version import InvalidVersion, Version

    try:
        found = Version(version)
        return not (
            (least is not None and found < Version(least))
            or (end is not None and found >= Version(end))
        )
    except InvalidVersion:
        return True
