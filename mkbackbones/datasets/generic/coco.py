"""COCO: one JSON for many images."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from mkbackbones.datasets.boxes import clean_box
from mkbackbones.datasets.generic.base import FileSet, class_names, image_names, polygon_mask
from mkbackbones.datasets.naming import first_few, folder_split
from mkbackbones.datasets.records import DatasetError, FileFault, Instance, Record
from mkbackbones.datasets.sources import Source, normal_form

__all__ = ['Coco', 'coco_mask']


@dataclass
class _Image:
    """An image as a JSON lists it."""

    file_name: str
    size: tuple[int, int] | None
    json_name: str
    annotations: list[tuple[dict, str | None, str]] = field(default_factory=list)
    """Each with its class (None: a fault, told by the last) and its place."""


class Coco(FileSet):
    """Records of COCO files, boxes and masks (polygons and run lengths).

    Every JSON with images and annotations below the source is read, or those that are named. The
    official split is what a JSON is called (``instances_train2017.json``) or the folder it is in.

    Args:
        src (str | Path): Folder or zip with the JSONs and the images.
        annotations (Sequence[str] | None): JSONs to read, by their path in the source.
        classes (Sequence[str] | None): Names in their order; None takes those of the categories,
            by id.
        bit_depth (int): Used bits of images that store 16.
        skip_bad (bool): Leave missing images to :meth:`read`.

    Raises:
        DatasetError: No such source, no COCO file, a malformed one, or a missing image.
    """

    def __init__(
        self,
        src: str | Path,
        annotations: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        bit_depth: int = 16,
        skip_bad: bool = False,
    ) -> None:
        source = Source(src, 'COCO')
        files = _files(source, annotations)
        names: dict[str, None] = {}
        notes: list[str] = []
        entries: list[_Image] = []
        for json_name, content in files.items():
            listed, faults = _entries(content, source.where(json_name), json_name, names)
            if faults and not skip_bad:
                raise FileFault(faults[0])
            notes += [f'left out: {fault}' for fault in faults if ': image_id ' in fault]
            entries += listed
        self.classes = class_names(classes or list(names), ())
        finder = _Finder(image_names(source))
        found = [finder.find(entry) for entry in entries]
        missing = [entry.file_name for entry, name in zip(entries, found) if name is None]
        if missing and not skip_bad:
            raise DatasetError(
                f'{source.path} is incomplete: {len(missing)} of {len(entries)} images are '
                f'missing: {first_few(missing)}'
            )
        self._missing = missing
        kept = [(entry, name) for entry, name in zip(entries, found) if name is not None]
        first: dict[str, str] = {}
        for entry, name in kept:
            if name in first:
                raise DatasetError(
                    f'{source.where(name)} is listed twice, in {first[name]} and '
                    f'{entry.json_name}: name the files to read with --annotations'
                )
            first[name] = entry.json_name
        splits = [_split(entry.json_name) or folder_split(name) for entry, name in kept]
        super().__init__(source, [name for _, name in kept], bit_depth, splits, notes)
        self._entries = [entry for entry, _ in kept]
        self.has_masks = any(
            item.get('segmentation') for entry in entries for item, _, _ in entry.annotations
        )

    def __len__(self) -> int:
        return len(self._images) + len(self._missing)

    def read(self, index: int) -> Record:
        """Image ``index``, in the order of the files.

        Raises:
            DatasetError: A file with a fault.
        """
        if index >= len(self._images):
            name = self._missing[index - len(self._images)]
            raise DatasetError(f'{self._source.where(name)} is missing')
        entry = self._entries[index]
        image = self._load(index, entry.size, self._source.where(entry.json_name))
        instances, fixes = [], []
        for item, name, where in entry.annotations:
            if name is None:
                raise DatasetError(where)
            if name not in self.classes:
                raise DatasetError(
                    f'{where}: unknown class {name!r}, not one of {", ".join(self.classes)}'
                )
            label = self.classes.index(name)
            instance, fix = _instance(item, label, image.width, image.height, where)
            instances += [] if instance is None else [instance]
            fixes += [] if fix is None else [f'{fix}: {where}']
        return self._record(index, image, instances, fixes)


def coco_mask(segmentation: list | dict, shape: tuple[int, int], where: str) -> np.ndarray:
    """Pixels of a COCO segmentation.

    Args:
        segmentation (list | dict): Polygons, whose union is meant, or run lengths, compressed or
            not; holes need the latter.
        shape (tuple[int, int]): Height and width in pixels.
        where (str): Its place, for messages.

    Raises:
        DatasetError: A malformed segmentation, or run lengths of another size.
    """
    from pycocotools import mask as coco_mask

    try:
        if isinstance(segmentation, list):
            if any(len(polygon) < 6 or len(polygon) % 2 for polygon in segmentation):
                raise DatasetError(f'{where}: a polygon needs three or more pairs of numbers')
            if not all(np.isfinite(np.asarray(polygon, float)).all() for polygon in segmentation):
                raise DatasetError(f'{where}: a polygon with numbers that are not finite')
            return polygon_mask(segmentation, shape)
        if tuple(segmentation['size']) != shape:
            raise DatasetError(
                f'{where}: run lengths of height and width {segmentation["size"]} for an image of '
                f'{list(shape)}'
            )
        if isinstance(segmentation['counts'], list):
            if sum(segmentation['counts']) != shape[0] * shape[1]:
                raise DatasetError(f'{where}: run lengths do not add up to the image')
            segmentation = coco_mask.frPyObjects(segmentation, *shape)
        return coco_mask.decode(segmentation).astype(bool)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f'{where}: malformed segmentation ({error!r})') from None


def _instance(
    item: Mapping, label: int, width: int, height: int, where: str
) -> tuple[Instance | None, str | None]:
    crowd = bool(item.get('iscrowd'))
    if item.get('segmentation'):
        mask = coco_mask(item['segmentation'], (height, width), where)
        if mask.any():
            return Instance.from_mask(label, mask, crowd=crowd), None
        return None, 'segmentation without a pixel in the image dropped'
    try:
        x, y, w, h = (float(value) for value in item['bbox'])
    except (KeyError, TypeError, ValueError):
        raise DatasetError(f'{where}: bbox {item.get("bbox")} is not four numbers') from None
    if not np.isfinite([x, y, w, h]).all():
        raise DatasetError(f'{where}: bbox {item["bbox"]} is not four finite numbers')
    box, fix = clean_box(x, y, x + w, y + h, width, height)
    return (None if box is None else Instance(label, box, crowd=crowd)), fix


def _files(source: Source, wanted: Sequence[str] | None) -> dict[str, dict]:
    """The COCO files by name; files that are something else are passed over unless named."""
    if wanted:
        unknown = [name for name in wanted if name not in source.names]
        if unknown:
            raise DatasetError(f'{source.where(unknown[0])} does not exist')
    found = {}
    for name in wanted or [name for name in source.names if name.lower().endswith('.json')]:
        try:
            content = json.loads(source.read(name))
        except ValueError as error:
            raise DatasetError(f'{source.where(name)}: malformed JSON ({error})') from None
        if isinstance(content, dict) and all(
            isinstance(content.get(key), list) for key in ('images', 'annotations', 'categories')
        ):
            found[name] = content
        elif wanted:
            raise DatasetError(
                f'{source.where(name)}: not a COCO file: no lists images, annotations, categories'
            )
    if not found:
        raise DatasetError(
            f'{source.path} holds no COCO file (*.json with images, annotations and categories)'
        )
    return found


def _entries(
    content: dict, where: str, json_name: str, names: dict[str, None]
) -> tuple[list[_Image], list[str]]:
    """Images of a file with their annotations, and the faults of single annotations.

    The names of the categories are added to ``names``.
    """
    try:
        categories = sorted(content['categories'], key=lambda item: item['id'])
        by_id = {item['id']: str(item['name']) for item in categories}
        images = {item['id']: _image(item, json_name) for item in content['images']}
    except (KeyError, TypeError) as error:
        raise DatasetError(f'{where}: an image or a category without {error}') from None
    if len(images) < len(content['images']):
        raise DatasetError(f'{where}: two images have one id')
    names.update(dict.fromkeys(by_id.values()))
    faults = []
    for number, item in enumerate(content['annotations'], start=1):
        place = f'{where}, annotation {number}'
        if not isinstance(item, dict):
            raise DatasetError(f'{place}: {item!r} is not an object')
        place += f' (id {item["id"]})' if 'id' in item else ''
        if item.get('image_id') not in images:
            faults.append(f'{place}: image_id {item.get("image_id")} is not in the file')
            continue
        name = by_id.get(item.get('category_id'))
        if name is None:
            place += f': category_id {item.get("category_id")} is not in the file'
            faults.append(place)
        images[item['image_id']].annotations.append((item, name, place))
    return list(images.values()), faults


def _image(item: dict, json_name: str) -> _Image:
    size = (item.get('width'), item.get('height'))
    stated = all(isinstance(side, int) and side > 0 for side in size)
    return _Image(str(item['file_name']), size if stated else None, json_name)


def _split(json_name: str) -> str | None:
    """The split in the name of a file, else in that of its folder."""
    stem = PurePosixPath(json_name).stem.replace('instances', 'annotations')
    return folder_split(f'{stem}/x') or folder_split(json_name)


class _Finder:
    """Image files by the end of their path."""

    def __init__(self, names: Sequence[str]) -> None:
        self._by_name = defaultdict(list)
        for name in names:
            self._by_name[normal_form(PurePosixPath(name).name)].append(name)

    def find(self, entry: _Image) -> str | None:
        """The file of an entry: the whole stated path, else its name alone; nearest to the JSON.

        Raises:
            DatasetError: Several files fit equally.
        """
        stated = normal_form(entry.file_name.replace('\\', '/')).lstrip('./')
        candidates = self._by_name.get(PurePosixPath(stated).name, [])
        whole = [name for name in candidates if f'/{normal_form(name)}'.endswith(f'/{stated}')]
        candidates = whole or candidates
        if len(candidates) > 1:
            split, folder = _split(entry.json_name), PurePosixPath(entry.json_name).parent
            for near in (
                [name for name in candidates if PurePosixPath(name).is_relative_to(folder)],
                [name for name in candidates if split and folder_split(name) == split],
            ):
                if len(near) == 1:
                    return near[0]
            raise DatasetError(
                f'{entry.json_name}: {entry.file_name} may be {first_few(candidates)}: state more '
                'of the path in file_name'
            )
        return candidates[0] if candidates else None
