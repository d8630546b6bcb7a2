"""All images of a prepared data set, whatever split they are in, and lists of some of them.

A list is what the data set class of a kind of task takes as ``ann_file``: a COCO file, or the names
of images, one a line. Images stay where they are.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch.utils.data import Dataset

from ...classification import ImageFolder
from ...datasets.records import SPLITS
from ...runner.preflight import iter_datasets
from ..define.spec import StudyError
from ..define.tasks import Task
from .split_checks import MAX_CLASS_MAPS, labels_of_map

__all__ = ['Pool', 'read_pool']


class Pool(ABC):
    """All images of a task's data set.

    Args:
        task (Task): The task.
        cfg (Config): Its config; it is left as it is.
        datasets (Mapping[str, Any]): Its data sets by split.

    Raises:
        StudyError: The data sets of the config are none that lists can be made for.
    """

    suffix = '.txt'

    def __init__(self, task: Task, cfg: Config, datasets: Mapping[str, Any]) -> None:
        self.task = task
        #: Names as evidence has them.
        self.names: list[str] = []
        #: Classes in each image, as the config numbers them.
        self.labels: list[frozenset[int]] = []
        inner = {split: inner_dataset(task, cfg, split) for split in SPLITS}
        self.read(inner, {split: unwrapped(found) for split, found in datasets.items()})
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        if twice:
            raise StudyError(
                f'task {task.key}: folds mix the images of all splits, and {len(twice)} names are '
                f'those of several images, e.g. {min(twice)!r}; rename all but one'
            )

    @abstractmethod
    def read(self, inner: dict[str, dict], datasets: dict[str, Any]) -> None:
        """Fill in names and labels, from the configs of the data sets and the data sets."""

    @abstractmethod
    def text(self, indices: Sequence[int]) -> str:
        """The list of some images."""

    @abstractmethod
    def point(self, dataset: dict) -> None:
        """Let the config of a data set take names from where the images of all splits are."""

    def apply(self, cfg: Config, files: Mapping[str, Path]) -> None:
        """Let a config read lists.

        Args:
            cfg (Config): The config to change.
            files (Mapping[str, Path]): Lists by split.
        """
        for split, file in files.items():
            dataset = inner_dataset(self.task, cfg, split)
            dataset['ann_file'] = str(file.resolve())
            self.point(dataset)
            evaluators = cfg.get(f'{split}_evaluator') or []
            for evaluator in evaluators if isinstance(evaluators, list | tuple) else [evaluators]:
                if evaluator.get('ann_file'):
                    evaluator['ann_file'] = str(file.resolve())

    def refuse(self, why: str) -> StudyError:
        """The error for data that cannot be mixed."""
        return StudyError(
            f'task {self.task.key}: {why}, so that its splits cannot be mixed for folds; write the '
            'set with prepare-dataset'
        )


class CocoPool(Pool):
    """Images of COCO files."""

    suffix = '.json'

    def read(self, inner: dict[str, dict], datasets: dict[str, Any]) -> None:
        classes = list((getattr(datasets['train'], 'metainfo', None) or {}).get('classes') or [])
        folders = {split: image_folder(found, 'img') for split, found in inner.items()}
        self.base = os.path.commonpath(list(folders.values()))
        self.categories: list[dict] | None = None
        self.images: list[dict] = []
        self.annotations: list[list[dict]] = []
        seen: set[str] = set()
        for split, found in inner.items():
            file = os.path.join(found.get('data_root') or '', found.get('ann_file') or '')
            content = self.load(file)
            if self.categories not in (None, content['categories']):
                raise self.refuse(f'{file} has other categories than the file of another split')
            self.categories = content['categories']
            label_of = {
                category['id']: classes.index(category['name'])
                for category in self.categories
                if category['name'] in classes
            }
            by_image: dict[Any, list[dict]] = {}
            for annotation in content['annotations']:
                by_image.setdefault(annotation['image_id'], []).append(annotation)
            for image in content['images']:
                path = os.path.join(folders[split], image['file_name'])
                name = Path(os.path.relpath(path, self.base)).as_posix()
                if name in seen:  # validation and test may be the same
                    continue
                seen.add(name)
                mine = by_image.get(image['id'], [])
                self.names.append(Path(name).stem)
                labels = (label_of.get(item['category_id']) for item in mine)
                self.labels.append(frozenset(label for label in labels if label is not None))
                self.images.append({**image, 'file_name': name})
                self.annotations.append(mine)

    def load(self, file: str) -> dict:
        """A COCO file."""
        try:
            content = json.loads(Path(file).read_text(encoding='utf-8'))
            if all(isinstance(content[key], list) for key in ('images', 'annotations')):
                return {'categories': [], **content}
        except (OSError, ValueError, TypeError, KeyError):
            pass
        raise self.refuse(f'{file} is no COCO file')

    def text(self, indices: Sequence[int]) -> str:
        images: list[dict] = []
        annotations: list[dict] = []
        for index in indices:  # ids of several files meet here, so they are made anew
            images.append({**self.images[index], 'id': index + 1})
            for annotation in self.annotations[index]:
                number = len(annotations) + 1
                annotations.append({**annotation, 'id': number, 'image_id': index + 1})
        content = dict(images=images, annotations=annotations, categories=self.categories)
        return json.dumps(content)

    def point(self, dataset: dict) -> None:
        prefix = dict(dataset.get('data_prefix') or {})
        dataset['data_prefix'] = {**prefix, 'img': below_root(dataset, self.base)}


class MapPool(Pool):
    """Images with a class map each."""

    def read(self, inner: dict[str, dict], datasets: dict[str, Any]) -> None:
        folders = {split: image_folder(found, 'img_path') for split, found in inner.items()}
        maps = {split: image_folder(found, 'seg_map_path') for split, found in inner.items()}
        self.bases = tuple(os.path.commonpath(list(found.values())) for found in (folders, maps))
        suffixes = {getattr(found, 'img_suffix', None) for found in datasets.values()}
        if None in suffixes or len(suffixes) > 1:
            raise self.refuse('its splits are no folders of images of one suffix')
        self.lines: list[str] = []
        few = sum(map(len, datasets.values())) <= MAX_CLASS_MAPS
        seen: set[str] = set()
        for dataset in datasets.values():
            for index in range(len(dataset)):
                about = dataset.get_data_info(index)
                suffix = len(dataset.img_suffix), len(dataset.seg_map_suffix)
                image, class_map = (
                    Path(os.path.relpath(path[:-count], base)).as_posix()
                    for path, count, base in zip(
                        (about['img_path'], about['seg_map_path']), suffix, self.bases
                    )
                )
                if image != class_map:
                    raise self.refuse(f'the class map of {image} is {class_map}, another name')
                if image in seen:
                    continue
                seen.add(image)
                self.lines.append(image)
                self.names.append(Path(about['img_path']).stem)
                labels = labels_of_map(about) if few else ()
                count = len(dataset.metainfo['classes'])
                background = dataset.metainfo['classes'][0] == 'background'
                self.labels.append(frozenset(v for v in labels if background <= v < count))

    def text(self, indices: Sequence[int]) -> str:
        return ''.join(f'{self.lines[index]}\n' for index in indices)

    def point(self, dataset: dict) -> None:
        image, class_map = (below_root(dataset, base) for base in self.bases)
        dataset['data_prefix'] = dict(img_path=image, seg_map_path=class_map)


class FolderPool(Pool):
    """Images in a folder a class."""

    def read(self, inner: dict[str, dict], datasets: dict[str, Any]) -> None:
        if not all(isinstance(found, ImageFolder) for found in datasets.values()):
            raise self.refuse('its data set is no mkbackbones.ImageFolder')
        root, *others = {os.path.abspath(found['data_root']) for found in inner.values()}
        if others:
            raise self.refuse('its splits have several folders')
        lines: dict[str, None] = {}
        for dataset in datasets.values():
            for path, label in dataset.samples:
                line = Path(os.path.relpath(path, root)).as_posix()
                if line not in lines:
                    lines[line] = None
                    self.names.append(f'{Path(path).parent.name}/{Path(path).stem}')
                    self.labels.append(frozenset([label]))
        self.lines = list(lines)

    def text(self, indices: Sequence[int]) -> str:
        return ''.join(f'{self.lines[index]}\n' for index in indices)

    def point(self, dataset: dict) -> None:
        pass


POOLS: dict[str, type[Pool]] = {
    'classification': FolderPool,
    'detection': CocoPool,
    'instance-segmentation': CocoPool,
    'segmentation': MapPool,
}


def read_pool(task: Task, cfg: Config, datasets: Mapping[str, Any]) -> Pool:
    """The pool of a task; see :class:`Pool`."""
    return POOLS[task.kind](task, cfg, datasets)


def inner_dataset(task: Task, cfg: Config, split: str) -> dict:
    """The config of a split's data set, below wrappers that repeat or mix it."""

    found = list(iter_datasets(cfg[f'{split}_dataloader'].dataset))
    if len(found) != 1:
        raise StudyError(
            f'task {task.key}: the {split} split is put together from {len(found)} data sets, so '
            'that folds cannot be dealt; write one set with prepare-dataset'
        )
    return found[0]


def unwrapped(dataset: Any) -> Any:
    """The data set within wrappers."""
    while isinstance(getattr(dataset, 'dataset', None), Dataset):
        dataset = dataset.dataset
    return dataset


def image_folder(dataset: dict, prefix: str) -> str:
    """Folder of a data set's images, or of its class maps."""
    folder = (dataset.get('data_prefix') or {}).get(prefix) or ''
    return os.path.abspath(os.path.join(dataset.get('data_root') or '', folder))


def below_root(dataset: dict, folder: str) -> str:
    """A folder as a prefix in the config of a data set."""
    root = dataset.get('data_root')
    if not root:
        return f'{folder}/'
    path = Path(os.path.relpath(folder, os.path.abspath(root))).as_posix()
    return '' if path == '.' else f'{path}/'
