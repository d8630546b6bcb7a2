"""Which image belongs to which split: as published, at random, or by group."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from .errors import DatasetError
from .naming import first_few, stem_of
from .records import SPLITS, Record
from .splits import neu_det_split
from .stratify import stratify

__all__ = ['METHODS', 'SplitItem', 'Splitter', 'Splitting', 'load_groups']

Method = Literal['official', 'random', 'group']
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class SplitItem:
    """What a split is decided on.

    Args:
        file_name (str): Name of the image.
        split (str | None): The official split.
        group (str | None): The group that the source states.
        labels (frozenset[int]): Classes in the image.
    """

    file_name: str
    split: str | None
    group: str | None
    labels: frozenset[int]

    @classmethod
    def of(cls, record: Record) -> SplitItem:
        """The item of a record."""
        labels = frozenset(item.label for item in record.instances)
        return cls(record.file_name, record.split, record.group, labels)


@dataclass(frozen=True)
class Splitting:
    """The outcome.

    Args:
        splits (list[str]): Split of each item.
        groups (dict[str, str]): File stem to group, for the items whose group is known.
        notes (list[str]): What the user should know about it.
    """

    splits: list[str]
    groups: dict[str, str]
    notes: list[str]


@dataclass(frozen=True)
class Splitter:
    """How to split.

    Args:
        method (str): ``official``: as the set was published. ``random``: image by image.
            ``group``: images of a group stay together. The last two are stratified by class.
        ratios (tuple[float, float, float]): Parts for train, val and test; a part may be 0, but
            for train.
        seed (int): Decides between equals.
        group_regex (str | None): Searched in the file stem; what its groups captured, or the whole
            match, names the group.
        groups (Mapping[str, str] | None): File stem to group. With neither of the two the groups
            that the source states are taken.
        val_from_train (float): With ``official``, where no image is for validation: the share of
            the training images that becomes so, group by group where groups are known.

    Raises:
        DatasetError: An argument is out of range, or two exclude each other.
    """

    method: Method = 'official'
    ratios: tuple[float, float, float] = (0.7, 0.1, 0.2)
    seed: int = 0
    group_regex: str | None = None
    groups: Mapping[str, str] | None = None
    val_from_train: float = 0.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise DatasetError(f'split method {self.method!r} is none of {", ".join(METHODS)}')
        train = self.ratios[0]
        if not (all(math.isfinite(part) and part >= 0 for part in self.ratios) and train > 0):
            raise DatasetError(
                f'ratios {_spaced(self.ratios)}: three parts for train, val and test, none below '
                '0 and train above'
            )
        if self.seed < 0:
            raise DatasetError(f'seed {self.seed} is negative: use 0 or more')
        if not 0 <= self.val_from_train < 1:
            raise DatasetError(f'val_from_train {self.val_from_train} is not from 0 to below 1')
        if self.val_from_train and self.method != 'official':
            raise DatasetError(
                '--val-from-train goes with the official split; others have --ratios'
            )
        if self.group_regex is not None and self.groups is not None:
            raise DatasetError('groups are given twice: by a regular expression and by a list')
        if self.method == 'random' and not (self.group_regex is None and self.groups is None):
            raise DatasetError('a random split takes no groups: use the split by group')
        if self.group_regex is not None:
            try:
                re.compile(self.group_regex)
            except re.error as error:
                raise DatasetError(
                    f'{self.group_regex!r} is no regular expression: {error}'
                ) from None

    def check(self, item: SplitItem) -> None:
        """Look at a first image, so that what fits none is told before all are read.

        Raises:
            DatasetError: See :meth:`assign`.
        """
        groups = self._groups([item])
        if self.method == 'official':
            self._official([item], groups)

    def assign(self, items: Sequence[SplitItem]) -> Splitting:
        """Split the images.

        The outcome depends on the set of items, not on their order.

        Raises:
            DatasetError: There is no official split, or images without a group.
        """
        groups = self._groups(items)
        if self.method == 'official':
            splits = self._official(items, groups)
        elif self.method == 'group':
            splits = _dealt(items, groups, self.ratios, self.seed)
        else:
            stems = [stem_of(item.file_name) for item in items]
            splits = _dealt(items, dict(zip(stems, stems)), self.ratios, self.seed)
        ordered = [splits[item.file_name] for item in items]
        return Splitting(ordered, groups, _notes(self.method, ordered, items, groups))

    def describe(self) -> dict:
        """The arguments that matter for the method, for the record."""
        content: dict = dict(method=self.method)
        if self.method != 'official':
            content.update(ratios=list(self.ratios), seed=self.seed)
        elif self.val_from_train:
            content.update(val_from_train=self.val_from_train, seed=self.seed)
        if self.group_regex is not None:
            content.update(group_regex=self.group_regex)
        return content

    def _groups(self, items: Sequence[SplitItem]) -> dict[str, str]:
        stems = {stem_of(item.file_name): item for item in items}
        if self.groups is not None:
            found = {stem: self.groups.get(stem) for stem in stems}
            hint = 'not in the list'
        elif self.group_regex is not None:
            found = {stem: _captured(self.group_regex, stem) for stem in stems}
            hint = f'no match of {self.group_regex!r}'
        else:
            found = {stem: item.group for stem, item in stems.items()}
            hint = (
                'the source states none; give --group-regex or --groups, e.g. the groups.json '
                'that check-leakage writes'
            )
        missing = sorted(stem for stem, group in found.items() if group is None)
        given = self.groups is not None or self.group_regex is not None
        if missing and (given or self.method == 'group'):
            raise DatasetError(f'no group for {first_few(missing)}: {hint}')
        return {stem: group for stem, group in found.items() if group is not None}

    def _official(self, items: Sequence[SplitItem], groups: dict[str, str]) -> dict[str, str]:
        without = [item.file_name for item in items if item.split is None]
        if without:
            raise DatasetError(
                f'there is no official split for {first_few(without)}: use --split random, or '
                '--split group where images share content'
            )
        splits = {item.file_name: item.split for item in items if item.split is not None}
        if self.val_from_train and 'val' not in splits.values():
            train = [item for item in items if item.split == 'train']
            names = [stem_of(item.file_name) for item in train]
            # An image without a group is one of its own.
            units = {stem: ('group', groups[stem]) if stem in groups else stem for stem in names}
            ratios = (1 - self.val_from_train, self.val_from_train, 0.0)
            splits.update(_dealt(train, units, ratios, self.seed))
        return splits


def load_groups(name: str) -> dict[str, str]:
    """Read groups.

    Args:
        name (str): A JSON file with an object of file stem to group, or ``neu-det`` for the
            shipped overlap groups of NEU-DET.

    Raises:
        DatasetError: The file cannot be read, or is something else.
    """
    if name == 'neu-det' and not Path(name).exists():
        return neu_det_split()[1]
    try:
        content = json.loads(Path(name).read_text(encoding='utf-8'))
    except OSError as error:
        raise DatasetError(f'{name}: {error.strerror}; give a JSON file or neu-det') from None
    except ValueError as error:
        raise DatasetError(f'{name}: malformed JSON ({error})') from None
    if not isinstance(content, dict) or not all(
        isinstance(group, str | int) and not isinstance(group, bool) for group in content.values()
    ):
        raise DatasetError(f'{name}: not an object of file stem to group name')
    return {stem: str(group) for stem, group in content.items()}


def _dealt(
    items: Sequence[SplitItem], units: Mapping[str, object], ratios: Sequence[float], seed: int
) -> dict[str, str]:
    items = sorted(items, key=lambda item: item.file_name)
    total = sum(ratios)
    sides = stratify(
        [item.labels for item in items],
        [units[stem_of(item.file_name)] for item in items],
        [part / total for part in ratios],
        seed,
    )
    return {item.file_name: SPLITS[side] for item, side in zip(items, sides)}


def _captured(pattern: str, stem: str) -> str | None:
    match = re.search(pattern, stem)
    if match is None:
        return None
    parts = [part for part in match.groups() if part is not None]
    return '-'.join(parts) if parts else match.group()


def _notes(
    method: Method, splits: Sequence[str], items: Sequence[SplitItem], groups: Mapping[str, str]
) -> list[str]:
    notes = []
    empty = [split for split in SPLITS if split not in splits]
    if empty:
        hint = '; --val-from-train takes some of the training images' if 'val' in empty else ''
        hint = hint if method == 'official' else ''
        notes.append(f'no image for {" and ".join(empty)}{hint}')
    sides = defaultdict(set)
    for item, split in zip(items, splits):
        if stem_of(item.file_name) in groups:
            sides[groups[stem_of(item.file_name)]].add(split)
    torn = sum(len(found) > 1 for found in sides.values())
    if torn:
        notes.append(
            f'{torn} of {len(sides)} groups of images that share content lie in several splits, '
            'so that scores on val and test are too good; --split group keeps them together'
        )
    return notes


def _spaced(numbers: Sequence[float]) -> str:
    return ' '.join(f'{number:g}' for number in numbers)
