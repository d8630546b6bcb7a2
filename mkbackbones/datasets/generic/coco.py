"""COCO: one JSON for many images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from ..boxes import clean_box
from ..coco_file import is_no_mask
from ..errors import DatasetError, FileFault
from ..formats import reader_hint
from ..naming import first_few, shortened
from ..records import Instance, Record
from ..rle import run_lengths
from ..sources import Source
from ..text import flag, parse_json, stated_size
from ..windows import Window, draw_polygons, draw_runs
from .base import class_names, other_formats
from .listed import Listed, ListedImages, split_of

if TYPE_CHECKING:
    from .pairing import Unannotated

__all__ = ['Coco', 'coco_window']

_KEYS = {'images', 'annotations', 'categories'}
_HUGE = 1e9
"""Pixels: beyond the side of any image."""


class Coco(ListedImages):
    """Records of COCO files, boxes and masks (polygons and run lengths).

    Every JSON with images and annotations below the source is read, or those that are named. The
    official split is what a JSON is called (``instances_train2017.json``) or the folder it is in.

    Args:
        src (str | Path): Folder or zip with the JSONs and the images.
        annotations (Sequence[str] | None): JSONs to read, by their path in the source.
        classes (Sequence[str] | None): Names in their order; None takes those of the categories,
            by id.
        unannotated (Unannotated): ``negative`` takes a set without a single object; an image
            without one beside others with some is always a negative.
        bit_depth (int): Used bits of images that store 16.
        skip_bad (bool): Leave missing images to :meth:`read`.

    Raises:
        DatasetError: No such source, no COCO file, a malformed one, a missing image, or no object
            at all.
    """

    _one_file = 'name the files to read with --annotations'

    def __init__(
        self,
        src: str | Path,
        annotations: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        unannotated: Unannotated = 'error',
        bit_depth: int = 16,
        skip_bad: bool = False,
    ) -> None:
        source = Source(src, 'COCO')
        files, notes = _files(source, annotations)
        names: dict[str, None] = {}
        blanks = 0
        entries: list[Listed] = []
        for json_name, content in files.items():
            found, faults = _entries(content, source.where(json_name), json_name, names)
            if faults and not skip_bad:
                raise FileFault(faults[0])
            blanks += sum(item['name'] != item['name'].strip() for item in content['categories'])
            orphans = [fault for fault in faults if ': image_id ' in fault]
            notes += [f'left out: {fault}' for fault in orphans]
            if orphans:
                _doubt_negatives(found, len(orphans))
            entries += found
        if blanks:
            notes.append(f'blanks around {blanks} class names removed')
        self.classes = class_names(classes or list(names), ())
        super().__init__(source, entries, bit_depth, notes, skip_bad)
        if entries and unannotated != 'negative' and not any(item.annotations for item in entries):
            raise DatasetError(
                f'{source.path} has no object in {len(entries)} of {len(entries)} images: take the '
                'file with annotations; if all are free of defects, say --unannotated negative'
            )
        self.has_masks = any(
            _has_mask(item.get('segmentation'))
            for entry in entries
            for item, _, _ in entry.annotations
        )

    def read(self, index: int) -> Record:
        """Image ``index``, in the order of the files.

        Raises:
            DatasetError: A file with a fault.
        """
        entry, image = self._listed(index)
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


def _doubt_negatives(entries: list[Listed], orphans: int) -> None:
    """Make a fault of every image without annotations: those without an image may be its own."""
    for entry in entries:
        if not entry.annotations:
            place = (
                f'{entry.listed_in}: {entry.file_name} has no annotation, but {orphans} '
                'annotations of the file have no image: it may be free of defects or not'
            )
            entry.annotations.append(({}, None, place))


def coco_window(segmentation: object, shape: tuple[int, int], where: str) -> Window:
    """Pixels of a COCO segmentation.

    Args:
        segmentation (object): Polygons, whose union is meant, or run lengths, compressed or
            not; holes need the latter.
        shape (tuple[int, int]): Height and width in pixels.
        where (str): Its place, for messages.

    Raises:
        DatasetError: A malformed segmentation, run lengths of another size, or corners far
            outside of the image.
    """
    if isinstance(segmentation, list):
        for polygon in segmentation:
            if not isinstance(polygon, list) or not all(
                isinstance(value, int | float) and not isinstance(value, bool) for value in polygon
            ):
                raise DatasetError(f'{where}: malformed segmentation (not lists of numbers)')
            if len(polygon) < 6 or len(polygon) % 2:
                raise DatasetError(f'{where}: a polygon needs three or more pairs of numbers')
            if any(abs(value) > _HUGE for value in polygon):
                raise DatasetError(f'{where}: a polygon far outside of the image')
        return draw_polygons(segmentation, shape, f'{where}: a polygon')
    if not isinstance(segmentation, dict) or not {'size', 'counts'} <= segmentation.keys():
        raise DatasetError(
            f'{where}: malformed segmentation (neither polygons nor run lengths with a size)'
        )
    if segmentation['size'] != list(shape):
        raise DatasetError(
            f'{where}: run lengths of height and width {segmentation["size"]} for an image of '
            f'{list(shape)}'
        )
    return draw_runs(run_lengths(segmentation['counts'], shape, where), shape)


def _has_mask(segmentation: object) -> bool:
    """Whether there is one: empty lists, also in a list, are a box alone for many tools."""
    if isinstance(segmentation, list) and all(polygon == [] for polygon in segmentation):
        return False
    return bool(segmentation) and not is_no_mask(segmentation)


def _instance(
    item: Mapping, label: int, width: int, height: int, where: str
) -> tuple[Instance | None, str | None]:
    # mmdet leaves out what is to be ignored, so that it would train as background.
    marks = [flag(item.get(key), key, where) for key in ('iscrowd', 'ignore')]
    crowd = any(marks)
    segmentation = item.get('segmentation')
    if _has_mask(segmentation):
        window = coco_window(segmentation, (height, width), where)
        if window.any():
            instance = Instance.from_mask(label, window.mask, x=window.x, y=window.y, crowd=crowd)
            return instance, None
        return None, 'segmentation without a pixel in the image dropped'
    bbox = item.get('bbox')
    if (
        not isinstance(bbox, list)
        or len(bbox) != 4
        or any(isinstance(value, bool) or not isinstance(value, int | float) for value in bbox)
    ):
        raise DatasetError(f'{where}: bbox {shortened(bbox)} is not four numbers')
    if not all(abs(value) < _HUGE for value in bbox):
        raise DatasetError(
            f'{where}: bbox {shortened(bbox)} is not four finite numbers of this image'
        )
    x, y, w, h = map(float, bbox)
    box, fix = clean_box(x, y, x + w, y + h, width, height, where)
    return (None if box is None else Instance(label, box, crowd=crowd)), fix


def _files(source: Source, wanted: Sequence[str] | None) -> tuple[dict[str, dict], list[str]]:
    """The COCO files by name, and notes on files that are something else and were not named."""
    if wanted:
        unknown = [name for name in wanted if name not in source.names]
        if unknown:
            raise DatasetError(f'{source.where(unknown[0])} does not exist')
    found = {}
    passed = []
    for name in wanted or [name for name in source.names if name.lower().endswith('.json')]:
        where = source.where(name)
        content = parse_json(source.read(name), where)
        if not isinstance(content, dict) or not _KEYS & content.keys():
            if wanted:
                raise DatasetError(
                    f'{where}: not a COCO file: no lists images, annotations, categories'
                    f'{reader_hint(source.read(name), "COCO")}'
                )
            passed.append(name)
            continue
        present = _KEYS & content.keys()
        if not wanted and (len(present) < 2 or 'annotations' not in present):
            remark = ' (without annotations)' if 'images' in present else ''
            passed.append(f'{name}{remark}')
            continue
        for key in sorted(_KEYS):
            if not isinstance(content.get(key), list):
                state = 'is no list' if key in content else 'is missing'
                raise DatasetError(f'{where}: not a COCO file: {key} {state}')
        found[name] = content
    if not found:
        raise DatasetError(
            f'{source.path} holds no COCO file (*.json with images, annotations and categories)'
            f'{other_formats(source, "COCO")}'
        )
    notes = [f'no COCO files, passed over: {first_few(passed)}'] if passed else []
    return found, notes


def _entries(
    content: dict, where: str, json_name: str, names: dict[str, None]
) -> tuple[list[Listed], list[str]]:
    """Images of a file with their annotations, and the faults of single annotations.

    The names of the categories are added to ``names``.
    """
    categories = _by_id(content['categories'], 'category', 'categories', where)
    for number, item in categories.items():
        name = item.get('name')
        if not isinstance(name, str) or not name.strip():
            raise DatasetError(f'{where}: category {shortened(number)} without a name')
    by_id = {number: item['name'].strip() for number, item in categories.items()}
    try:
        names.update(dict.fromkeys(by_id[number] for number in sorted(by_id)))
    except TypeError:
        raise DatasetError(f'{where}: ids of categories are partly text') from None
    images = {
        number: _image(item, json_name, where)
        for number, item in _by_id(content['images'], 'image', 'images', where).items()
    }
    faults = []
    for number, item in enumerate(content['annotations'], start=1):
        place = f'{where}, annotation {number}'
        if not isinstance(item, dict):
            raise DatasetError(f'{place}: {shortened(item)} is not an object')
        place += f' (id {shortened(item["id"])})' if 'id' in item else ''
        image_id, category_id = item.get('image_id'), item.get('category_id')
        if not _is_id(image_id) or image_id not in images:
            faults.append(f'{place}: image_id {shortened(image_id)} is not in the file')
            continue
        name = by_id.get(category_id) if _is_id(category_id) else None
        if name is None:
            place += f': category_id {shortened(category_id)} is not in the file'
            faults.append(place)
        images[image_id].annotations.append((item, name, place))
    return list(images.values()), faults


def _by_id(items: list, what: str, several: str, where: str) -> dict[int | str, dict]:
    found: dict[int | str, dict] = {}
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise DatasetError(f'{where}: {what} {number} is not an object')
        if not _is_id(item.get('id')):
            state = f'; its id is {shortened(item["id"])}' if 'id' in item else ''
            raise DatasetError(
                f'{where}: {what} {number} without an id, a whole number or text{state}'
            )
        if item['id'] in found:
            raise DatasetError(f'{where}: two {several} have one id ({shortened(item["id"])})')
        found[item['id']] = item
    return found


def _is_id(value: object) -> TypeGuard[int | str]:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _image(item: dict, json_name: str, where: str) -> Listed:
    if not isinstance(item.get('file_name'), str) or not item['file_name'].strip('/\\. '):
        raise DatasetError(f'{where}: image {shortened(item["id"])} without a file_name')
    size = stated_size(
        item.get('width'), item.get('height'), f'{where}, image {shortened(item["id"])}'
    )
    return Listed(item['file_name'], size, json_name, split_of(json_name))
