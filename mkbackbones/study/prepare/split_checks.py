"""What can be wrong with the images of a task and would be found after the training only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..define.spec import StudyError
from ..evidence.groups import groups_of

if TYPE_CHECKING:
    from ..define.tasks import TaskKind

__all__ = ['check_splits', 'count_classes', 'image_names', 'labels_of_map', 'lacking']

#: Class maps are read one by one; of larger splits the classes are not counted.
MAX_CLASS_MAPS = 5000
#: The report resamples groups, and cannot with fewer.
MIN_GROUPS = 2


def count_classes(dataset: Any, kind: TaskKind) -> Sequence[int] | None:
    """Images with each class; None where that cannot be told quickly."""
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes') or []
    counts = np.zeros(len(classes), dtype=int)
    if kind == 'classification':
        for _, label in dataset.samples:
            counts[label] += 1
        return counts.tolist()
    if kind == 'segmentation' and len(dataset) > MAX_CLASS_MAPS:
        return None
    for index in range(len(dataset)):
        about = dataset.get_data_info(index)
        if kind == 'segmentation':
            labels = labels_of_map(about)
        else:
            labels = {item['bbox_label'] for item in about.get('instances', ())}
        for label in labels:
            if 0 <= label < len(counts):
                counts[label] += 1
    return counts.tolist()


def labels_of_map(about: Mapping) -> set[int]:
    """The classes in a class map, as the config numbers them."""
    with Image.open(about['seg_map_path']) as image:
        labels = np.asarray(image)
    if labels.dtype == np.uint8:  # counting is faster than sorting
        found = set(np.flatnonzero(np.bincount(labels.ravel())).tolist())
    else:
        found = {int(value) for value in np.unique(labels)}
    if about.get('reduce_zero_label'):
        found = {value - 1 for value in found}
    label_map = about.get('label_map')
    return {label_map.get(value, value) for value in found} if label_map else found


def check_splits(
    key: str,
    kind: TaskKind,
    datasets: Mapping[str, Any],
    data_root: str,
    count: Callable[[Any, TaskKind], Sequence[int] | None] = count_classes,
) -> list[str]:
    """Check the splits of a task.

    Args:
        key (str): Key of the task.
        kind (TaskKind): Kind of the task.
        datasets (Mapping[str, Any]): Data sets by split.
        data_root (str): Folder of the data set.
        count (Callable): Counts images by class.

    Returns:
        list[str]: What the user should know, one sentence each.

    Raises:
        StudyError: Two test images have one name, the test split is one group, or the train split
            lacks a class.
    """
    names = image_names(datasets['test'], kind)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise StudyError(
            f'task {key}: {len(twice)} names occur more than once among the test images, e.g. '
            f'{twice[0]!r}; evidence and predictions are kept by the name of the image without its '
            'folder and suffix, so rename one of them'
        )
    groups = groups_of(data_root, names)
    if len(set(groups.values())) < MIN_GROUPS:
        raise StudyError(
            f'task {key}: the {len(names)} images of the test split are one group (groups.json); '
            'what holds for other images cannot be told from one, so split again, e.g. '
            'prepare-dataset --split group with a larger test share'
        )
    classes = list((getattr(datasets['train'], 'metainfo', None) or {}).get('classes') or [])
    notes = []
    for split, dataset in datasets.items():
        counts = count(dataset, kind)
        if counts is None:
            continue
        missing = lacking(counts, classes, kind)
        if not missing:
            continue
        text = f'task {key}: the {split} split has no image with {", ".join(missing)}'
        if split == 'train':
            raise StudyError(
                f'{text}, so no network can learn it; split again (prepare-dataset), or leave the '
                'class out of the config'
            )
        notes.append(
            f'{text}; it is left out of the mean over classes'
            + (' that picks the weights' if split == 'val' else '')
        )
    return notes


def lacking(counts: Sequence[int], classes: Sequence[str], kind: TaskKind) -> list[str]:
    """Classes without an image that a task needs images of."""
    missing = [name for label, name in enumerate(classes) if not counts[label]]
    if kind == 'segmentation' and 'background' in missing:
        missing.remove('background')
    return missing


def image_names(dataset: Any, kind: TaskKind) -> list[str]:
    """Names of images as evidence has them."""
    if kind == 'classification':
        paths = [Path(path) for path, _ in dataset.samples]
        return [f'{path.parent.name}/{path.stem}' for path in paths]
    return [Path(dataset.get_data_info(i)['img_path']).stem for i in range(len(dataset))]
