"""The checks that entries of a study file share; each says what is wrong in a sentence."""

from __future__ import annotations

import re
from typing import Any

from ...arguments import is_int
from ...hints import did_you_mean
from ...predict.tiles import OVERLAP, Tiling
from ...runner.errors import InputError

__all__ = [
    'StudyError',
    'allow',
    'entries',
    'folder_name',
    'parse_flag',
    'parse_folds',
    'parse_tile',
    'positive',
    'text',
]

#: Of how many folds each run tests on one.
MOST_FOLDS = 100
#: Names that Windows keeps for devices.
RESERVED = re.compile(r'(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?')


class StudyError(ValueError):
    """A study that cannot run as it stands; the message says what to change."""


def allow(content: dict, known: tuple[str, ...], where: str) -> None:
    """Refuse unknown entries."""
    for key in content:
        if key not in known:
            raise StudyError(
                f'{where} has an entry {key!r}; it may have {", ".join(known)}'
                f'{did_you_mean(key, known)}'
            )


def entries(content: dict, name: str) -> list[tuple[str, dict]]:
    """The named sub-dicts of ``content[name]``."""
    found = content.get(name)
    if not isinstance(found, dict) or not found:
        raise StudyError(f'the study needs {name}=dict(NAME=dict(...), ...) with one entry or more')
    for key, value in found.items():
        if not isinstance(value, dict):
            raise StudyError(f'{name}.{key} is {value!r}; it must be a dict')
        folder_name(key, f'{name}.{key}')
    lower = [key.lower() for key in found]
    twice = next((key for key in found if lower.count(key.lower()) > 1), None)
    if twice is not None:  # one folder, on file systems that do not tell them apart
        raise StudyError(f'{name}.{twice}: another entry differs in capitals alone; rename one')
    return list(found.items())


def folder_name(name: Any, where: str) -> str:
    """A name that every file system takes for a folder."""
    fine = isinstance(name, str) and re.fullmatch(r'[A-Za-z0-9_]([\w .-]*[\w-])?', name)
    if not fine or len(name) > 100 or RESERVED.fullmatch(name):
        raise StudyError(
            f'{where}={name!r}: it names folders, so use up to 100 letters, digits, - and _, and '
            'dots inside'
        )
    return name


def text(content: dict, name: str, default: str, where: str) -> str:
    """An entry that has to be text."""
    value = content.get(name, default)
    if not isinstance(value, str) or not value.strip():
        raise StudyError(f'{where}: {name}={value!r}; it must be text')
    return value


def positive(number: Any, where: str) -> int | None:
    """A whole number from 1, or None."""
    if number is not None and not (is_int(number) and 1 <= number < 1 << 40):
        raise StudyError(f'{where}={number!r}; it must be a whole number from 1')
    return number


def parse_flag(value: Any, where: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise StudyError(f'{where}={value!r}; it must be True or False')
    return value


def parse_folds(splits: Any, where: str) -> int:
    """``dict(folds=...)``; 0 where a data set's own splits are taken."""
    if splits is None:
        return 0
    folds = splits.get('folds') if isinstance(splits, dict) else None
    if not (is_int(folds) and 2 <= folds <= MOST_FOLDS) or set(splits) != {'folds'}:
        raise StudyError(
            f'{where}: splits={splits!r}; give dict(folds=5), or another whole number from 2 to '
            f'{MOST_FOLDS}, or leave it out for the splits that the data set has'
        )
    return folds


def parse_tile(tile: Any, kind: str, where: str) -> Tiling | None:
    """``dict(size=..., overlap=...)``; None where test pictures are seen whole."""
    if tile is None:
        return None
    if kind == 'classification':
        raise StudyError(
            f'{where}: tile={tile!r}; a classifier sees pictures whole, so leave it out: tiles are '
            'for detection, instance-segmentation and segmentation'
        )
    known = isinstance(tile, dict) and set(tile) <= {'size', 'overlap'}
    size = tile.get('size') if known else None
    overlap = tile.get('overlap', min(OVERLAP, size // 2)) if is_int(size) else None
    if not is_int(size) or not is_int(overlap):
        raise StudyError(
            f'{where}: tile={tile!r}; give dict(size=1024, overlap=128) in whole pixels, or leave '
            'it out for test pictures that are seen whole'
        )
    try:
        return Tiling(size, overlap)
    except InputError as error:
        raise StudyError(f'{where}, tile={tile!r}: {error}') from error
