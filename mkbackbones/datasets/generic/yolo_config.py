"""What lies beside YOLO's labels: data.yaml, darknet's obj.data, class names and image lists."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ..errors import DatasetError
from ..images import is_image
from ..naming import first_few, shortened
from ..sources import Source
from ..text import decode_text, parse_yaml

__all__ = [
    'LISTS',
    'NAME_FILES',
    'YoloConfig',
    'class_list',
    'is_image_list',
    'read_config',
    'split_images',
]

NAME_FILES = ('classes.txt', 'obj.names')
LISTS = {'train.txt': 'train', 'val.txt': 'val', 'valid.txt': 'val', 'test.txt': 'test'}
"""Darknet's lists of images, as CVAT and others write them."""
_LONGEST_YAML = 1 << 20
_SPLIT_KEYS = dict(train='train', val='val', valid='val', test='test')


@dataclass
class YoloConfig:
    """A data.yaml or an obj.data.

    Args:
        name (str): The file; empty where there is none.
        names (list[str]): Class names; empty where it has none.
        splits (dict[str, list[str]]): Folders, images or lists of a split, as written.
        root (str): The ``path`` that they refer to, as written.
        key_points (int): Values a line has behind the box.
    """

    name: str = ''
    names: list[str] = field(default_factory=list)
    splits: dict[str, list[str]] = field(default_factory=dict)
    root: str = ''
    key_points: int = 0


def read_config(source: Source) -> YoloConfig:
    """The data.yaml of a source (any ``*.yaml`` with ``names``), else its obj.data or lists.

    Raises:
        DatasetError: A malformed one, or several.
    """
    found = []
    for name in source.names:
        if name.lower().endswith(('.yaml', '.yml')):
            content = _yaml(source, name)
            if content is not None:
                found.append(_from_yaml(content, name, source.where(name)))
    if len(found) > 1:
        names = ', '.join(config.name for config in found)
        raise DatasetError(f'{source.path} has several files with class names: {names}')
    return found[0] if found else _darknet(source)


def class_list(source: Source) -> tuple[list[str], str]:
    """Class names of ``classes.txt`` or ``obj.names``, and the file; empty without one.

    Raises:
        DatasetError: Several that differ, or one with an empty line between names.
    """
    found: list[str] = []
    first = ''
    for name in source.names:
        if PurePosixPath(name).name.lower() not in NAME_FILES:
            continue
        lines = decode_text(source.read(name), source.where(name)).rstrip().splitlines()
        names = [line.strip() for line in lines]
        if '' in names:
            raise DatasetError(
                f'{source.where(name)}: line {names.index("") + 1} is empty; the classes are '
                'numbered by line'
            )
        if not names:
            continue
        if found and names != found:
            raise DatasetError(
                f'{first} and {name} name different classes: {first_few(found)}; and '
                f'{first_few(names)}: convert the folders one by one, or make the files alike'
            )
        found, first = names, first or name
    return found, first


def split_images(
    source: Source, config: YoloConfig, images: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Image to split as a config says, and notes; empty if it says nothing.

    Args:
        source (Source): The set.
        config (YoloConfig): What is said.
        images (Sequence[str]): Names of the images.

    Raises:
        DatasetError: A folder or list that does not exist, or a list of none of the images.
    """
    listed: dict[str, str] = {}
    twice: list[str] = []
    missing: list[str] = []
    for split, entries in config.splits.items():
        for entry in entries:
            hits = _images_of(source, config, entry, images)
            if hits is None:
                missing.append(f'{split}: {entry}')
                continue
            twice += [name for name in hits if listed.get(name, split) != split]
            for name in hits:
                listed.setdefault(name, split)
    unlisted = len(listed) < len(images)
    # A test set that was not shipped takes nothing with it.
    if missing and (unlisted or not all(entry.startswith('test: ') for entry in missing)):
        raise DatasetError(
            f'{source.where(config.name)}: {first_few(missing)} does not exist, or holds no image: '
            'mend the path'
        )
    notes = [f'{config.name}: {entry} does not exist' for entry in missing]
    if twice:
        notes.append(
            f'{len(twice)} images lie in several splits of {config.name} and count for the first: '
            f'{first_few(twice)}'
        )
    return listed, notes


def _images_of(
    source: Source, config: YoloConfig, entry: str, images: Sequence[str]
) -> list[str] | None:
    """Images of one entry: those in a folder, in a list, or the image itself."""
    for path in _resolved(entry, config):
        if path in source.names and path.lower().endswith('.txt'):
            lines = decode_text(source.read(path), source.where(path)).splitlines()
            return _of_list([_without_dots(line.strip()) for line in lines if line.strip()], images)
        if path in images:
            return [path]
        hits = [name for name in images if name.startswith(f'{path}/') or path == '']
        if hits:
            return hits
    return None


def _of_list(tails: Sequence[str], images: Sequence[str]) -> list[str] | None:
    by_name = defaultdict(list)
    for tail in tails:
        by_name[PurePosixPath(tail).name].append(tail)
    return [
        name
        for name in images
        if any(_ends(name, tail) for tail in by_name.get(PurePosixPath(name).name, ()))
    ] or None


def _yaml(source: Source, name: str) -> dict | None:
    """Content of a YAML with class names, all scalars as text; None for any other."""
    where = source.where(name)
    content = source.read(name)
    text = decode_text(content, where)
    if re.search(r'(?m)^[ \t{"\']*names["\']?[ \t]*:', text) is None:
        return None
    if len(content) > _LONGEST_YAML:
        raise DatasetError(
            f'{where}: class names and folders in {len(content) / 2**20:.1f} MiB of YAML, more '
            'than the 1 that is read'
        )
    data = parse_yaml(content, where)
    return data if isinstance(data, dict) and 'names' in data else None


def _from_yaml(content: dict, name: str, where: str) -> YoloConfig:
    config = YoloConfig(name, _names(content['names'], where))
    count = content.get('nc')
    if count is not None and count != str(len(config.names)):
        raise DatasetError(
            f'{where}: nc is {shortened(count)}, but names has {len(config.names)}: where one is '
            'missing, those behind it have wrong numbers; mend the two'
        )
    for key, split in _SPLIT_KEYS.items():
        entries = content.get(key) or []
        entries = [entries] if isinstance(entries, str) else entries
        if not isinstance(entries, list) or not all(isinstance(item, str) for item in entries):
            raise DatasetError(f'{where}: {key} is no folder and no list of folders')
        if entries and entries not in (['null'], ['~']):
            config.splits.setdefault(split, []).extend(entries)
    root = content.get('path') or ''
    if not isinstance(root, str):
        raise DatasetError(f'{where}: path is no folder')
    config.root = root
    shape = content.get('kpt_shape')
    if shape is not None:
        if not (
            isinstance(shape, list)
            and len(shape) == 2
            and all(isinstance(side, str) and re.fullmatch('[0-9]{1,6}', side) for side in shape)
        ):
            raise DatasetError(f'{where}: kpt_shape is not a number of points and of values each')
        config.key_points = int(shape[0]) * int(shape[1])
    return config


def _names(names: object, where: str) -> list[str]:
    if isinstance(names, dict):
        numbers = sorted(names, key=lambda key: (not str(key).isdecimal(), len(str(key)), str(key)))
        if numbers != [str(number) for number in range(len(names))]:
            raise DatasetError(
                f'{where}: names are numbered [{first_few(list(map(str, numbers)))}], not from 0'
            )
        names = [names[number] for number in numbers]
    if not isinstance(names, list):
        raise DatasetError(f'{where}: names is {shortened(names)}, not a list: write names: [...]')
    if not all(isinstance(name, str) for name in names):
        raise DatasetError(f'{where}: a name of a class is no text')
    return names


def _darknet(source: Source) -> YoloConfig:
    """The obj.data, or the lists of images that lie about without one."""
    for name in source.names:
        if PurePosixPath(name).suffix.lower() != '.data':
            continue
        lines = decode_text(source.read(name), source.where(name)).splitlines()
        pairs = [line.partition('=')[::2] for line in lines if '=' in line]
        values = {key.strip().lower(): value.strip() for key, value in pairs}
        stated = {split: [values[key]] for key, split in _SPLIT_KEYS.items() if values.get(key)}
        if stated:
            return YoloConfig(name, splits=stated)
    splits: dict[str, list[str]] = {}
    for name in source.names:
        # Deeper ones may be labels of an image of that name.
        if '/' not in name and name.lower() in LISTS and is_image_list(source, name):
            splits.setdefault(LISTS[name.lower()], []).append(name)
    return YoloConfig(', '.join(name for names in splits.values() for name in names), splits=splits)


def is_image_list(source: Source, name: str) -> bool:
    """Whether a text file lists images."""
    lines = source.read(name).decode('utf-8', 'replace').split('\n')
    lines = [line.strip() for line in lines if line.strip()]
    return bool(lines) and all(is_image(line) for line in lines[:10])


def _resolved(entry: str, config: YoloConfig) -> list[str]:
    """Where an entry may lie below the source; roots are often those of another machine."""
    base = PurePosixPath(config.name.partition(', ')[0]).parent
    tail = _without_dots(entry)
    places = [base / _without_dots(config.root) / tail, base / tail]
    places.append(base / PurePosixPath(tail).name)
    return [place.as_posix().removeprefix('./').strip('/').removeprefix('.') for place in places]


def _without_dots(path: str) -> str:
    return re.sub(r'^(?:\.{0,2}/)+', '', path.replace('\\', '/')).removesuffix('/')


def _ends(name: str, tail: str) -> bool:
    return name == tail or name.endswith(f'/{tail}') or tail.endswith(f'/{name}')
