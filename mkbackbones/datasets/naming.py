"""Names: sorted as people count, listed in messages, unique in an output, and telling a split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath

from .errors import DatasetError

__all__ = [
    'KIND_WORDS',
    'first_few',
    'folder_split',
    'natural_order',
    'shortened',
    'stem_of',
    'unique_stems',
]

_SPLIT_WORDS = {
    'train': 'train',
    'training': 'train',
    'val': 'val',
    'valid': 'val',
    'validation': 'val',
    'test': 'test',
    'testing': 'test',
}
_KINDS = """
image images img imgs jpegimages photo photos annotation annotations ann anns label labels json xml
txt mask masks gt groundtruth segmentation segmentationclass segmentationobject data dataset
"""
KIND_WORDS = frozenset(_KINDS.split())
"""Words that tell what kind of file a folder holds, not which part of the set."""


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort so that ``patches_9`` comes before ``patches_10``."""
    return sorted(names, key=lambda name: [_number(part) for part in re.split(r'([0-9]+)', name)])


def _number(part: str) -> tuple[int, str]:
    if not part.isdecimal():
        return -1, part
    digits = part.lstrip('0')
    return len(digits), digits  # orders as the number does, whatever its length


def first_few(names: Sequence[str], count: int = 5) -> str:
    """The first names and the number of the others, for messages."""
    shown = ', '.join(names[:count])
    return shown if len(names) <= count else f'{shown} and {len(names) - count} more'


def shortened(value: object, length: int = 60) -> str:
    """A value as a message shows it: its beginning, where it is long."""
    text = repr(value)
    return text if len(text) <= length else f'{text[:length]}...'


def stem_of(name: str) -> str:
    """File name without folder and last suffix."""
    return PurePosixPath(name).stem


def folder_split(name: str) -> str | None:
    """The split that a folder on a path names (train, valid, testing, ...); None if none does."""
    for part in reversed(PurePosixPath(name).parts[:-1]):
        # 'train', 'train2017' and 'images_train', but neither 'trainer' nor 'test_line_3'.
        words = [word for word in re.split(r'[\W_\d]+', part.lower()) if word]
        found = [_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS]
        if len(found) == 1 and all(word in _SPLIT_WORDS or word in KIND_WORDS for word in words):
            return found[0]
    return None


def unique_stems(names: Sequence[str]) -> list[str]:
    """One stem for each path: the file's own, or with the folders before it where two agree.

    ``a/images/1.png`` and ``b/images/1.png`` become ``a__1`` and ``b__1``; a name that is unique
    stays. Folders that tell but the kind of file are left out if the others are enough.

    Raises:
        DatasetError: Two files differ in nothing but the suffix, so that they would share a mask.
    """
    counts = Counter(stem_of(name) for name in names)
    telling = {name: _joined(name, KIND_WORDS) for name in names if counts[stem_of(name)] > 1}
    if len(set(telling.values())) < len(telling):
        telling = {name: _joined(name, ()) for name in telling}
    stems = [telling.get(name, stem_of(name)) for name in names]
    first: dict[str, str] = {}
    for name, stem in zip(names, stems):
        if first.setdefault(stem, name) != name:
            raise DatasetError(
                f'{first[stem]} and {name} would both be called {stem}: rename one of them'
            )
    return stems


def _joined(name: str, without: Collection[str]) -> str:
    """Path without its suffix as one word, without some of the folders."""
    *folders, _ = PurePosixPath(name).parts
    kept = [folder for folder in folders if folder.lower() not in without]
    return '__'.join([*kept, stem_of(name)])
