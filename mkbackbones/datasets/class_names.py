"""Whether a config and its annotations mean the same classes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..hints import did_you_mean

__all__ = ['class_fault', 'class_note', 'folders_above', 'stated_classes', 'written_classes']

_LARGEST = 256 << 20
"""Bytes of an annotation file that is read for its categories alone."""


def class_fault(dataset: Mapping, scope: str | None = None) -> str | None:
    """Why the class names of a data set's config cannot be right, in a sentence; None if they can.

    mmdet's ``CocoDataset`` drops the objects of a category that the config does not name, and
    numbers the others in the order of the file, whatever that of the config: both without a word.
    mmseg's class maps hold numbers; the ``dataset.json`` beside them tells what they mean.

    Args:
        dataset (Mapping): Config of one data set, as mmengine builds it. What cannot be told, e.g.
            as a file is not there, is no fault here.
        scope (str | None): The config's ``default_scope``.
    """
    stated = (dataset.get('metainfo') or {}).get('classes')
    if isinstance(stated, str) and not os.path.isfile(stated):
        return (
            f'classes={stated!r} is text, which would be taken for a file of names or letter by '
            f'letter; a single class needs a comma: ({stated!r},)'
        )
    compared = _compared(dataset, scope)
    if compared is None:
        return None
    classes, names, file = compared
    missing = [name for name in classes if name not in names]
    if missing:
        unknown = [name for name in names if name not in classes]
        return (
            f'the config has the class {missing[0]!r}, but {file} has none of that name '
            f'({", ".join(names)}){did_you_mean(missing[0], unknown)}'
        )
    kept = [name for name in names if name in classes]
    if kept != list(classes):
        return (
            f'the classes of the config are {", ".join(classes)}, but {file} numbers them '
            f'{", ".join(kept)}: take that order'
        )
    if _is_class_map(dataset) and len(kept) < len(names):
        left_out = [name for name in names if name not in classes]
        return (
            f'{file} has the class {left_out[0]!r}, which the config leaves out '
            f'({", ".join(classes)}): its pixels would be of no class'
        )
    return None


def class_note(dataset: Mapping, scope: str | None = None) -> str | None:
    """What of the annotations a config leaves out by its choice of classes; None if nothing.

    Args:
        dataset (Mapping): Config of one data set, without a :func:`class_fault`.
        scope (str | None): The config's ``default_scope``.
    """
    compared = _compared(dataset, scope)
    if compared is None:
        return None
    classes, names, file = compared
    left_out = [name for name in names if name not in classes]
    if not left_out:
        return None
    return f'objects of {", ".join(left_out)} in {file} are left out: the config does not name them'


def stated_classes(dataset: Mapping, scope: str | None = None) -> tuple[str, ...] | None:
    """The classes that a data set will have: those of its config, else those of its type.

    Args:
        dataset (Mapping): Config of one data set.
        scope (str | None): The config's ``default_scope``.

    Returns:
        tuple[str, ...] | None: None where they cannot be told before it is built.
    """
    classes = (dataset.get('metainfo') or {}).get('classes')
    if classes is None:
        classes = (getattr(_type(dataset, scope), 'METAINFO', None) or {}).get('classes')
    if isinstance(classes, str):  # mmengine reads a file of names
        try:
            with open(classes, encoding='utf-8') as file:
                classes = [line.strip() for line in file if line.strip()]
        except OSError:
            return None
    if not isinstance(classes, Sequence) or not all(isinstance(name, str) for name in classes):
        return None
    return tuple(classes)


def written_classes(dataset: Mapping) -> tuple[list[str], str] | None:
    """The classes that the files of a data set have, in their order, and the file that tells them.

    Args:
        dataset (Mapping): Config of one data set.

    Returns:
        tuple[list[str], str] | None: None where no file does, or it lies elsewhere than on this
        file system.
    """
    if dataset.get('backend_args'):
        return None
    root = dataset.get('data_root') or ''
    if _is_class_map(dataset):
        for folder in folders_above(os.path.join(root, dataset['data_prefix']['seg_map_path'])):
            path = os.path.join(folder, 'dataset.json')
            content = _load(path)
            if isinstance(content, dict) and isinstance(content.get('classes'), list):
                return ['background', *map(str, content['classes'])], path
        return None
    ann_file = dataset.get('ann_file')
    if not isinstance(ann_file, str) or not ann_file.endswith('.json'):
        return None
    path = os.path.join(root, ann_file)
    content = _load(path)
    categories = content.get('categories') if isinstance(content, dict) else None
    if not isinstance(categories, list):
        return None
    names = [item.get('name') for item in categories if isinstance(item, dict)]
    return ([str(name) for name in names], path) if names else None


def _compared(dataset: Mapping, scope: str | None) -> tuple[tuple[str, ...], list[str], str] | None:
    classes, found = stated_classes(dataset, scope), written_classes(dataset)
    if not classes or found is None:
        return None
    names, file = found
    if _is_class_map(dataset):
        # Whatever the config calls the background, it is number 0, or left out.
        if dataset.get('reduce_zero_label'):
            names = names[1:]
        elif classes[0] not in names:
            names = [classes[0], *names[1:]]
    return classes, names, file


def _is_class_map(dataset: Mapping) -> bool:
    prefix = dataset.get('data_prefix')
    return isinstance(prefix, Mapping) and isinstance(prefix.get('seg_map_path'), str)


def _type(dataset: Mapping, scope: str | None) -> Any:
    kind = dataset.get('type')
    if not isinstance(kind, str):
        return kind
    try:
        from mmengine.registry import DATASETS

        return DATASETS.get(kind if '.' in kind or not scope else f'{scope}.{kind}')
    except Exception:  # whatever an import of the user's raises is told when it is built
        return None


def _load(path: str) -> Any:
    try:
        if os.path.getsize(path) > _LARGEST:
            return None
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError):
        return None


def folders_above(path: str) -> Iterator[str]:
    """The three folders above a path, in which the ``dataset.json`` of a prepared set may lie."""
    path = os.path.abspath(path)
    for _ in range(3):
        path = os.path.dirname(path)
        yield path
