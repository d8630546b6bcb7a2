"""CVAT for images: one XML for many images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from ..errors import DatasetError, FileFault
from ..formats import reader_hint
from ..naming import first_few, folder_split, natural_order, shortened
from ..sources import Source
from ..text import parse_xml, stated_size
from ..windows import (
    Window,
    draw_ellipse,
    draw_polygons,
    hull,
    rotated_corners,
)
from .base import class_names, other_formats
from .listed import Listed, split_of
from .regions import Region, RegionImages, regions_of

__all__ = ['Cvat']

_FORMAT = 'CVAT for images'
_NO_AREA = ('polyline', 'points', 'skeleton')
_NO_OBJECT_TYPES = (*_NO_AREA, 'tag')
_SIZE = ('width', 'height')
_WINDOW = ('left', 'top', *_SIZE)
_CUBOID = ('tl1', 'bl1', 'br1', 'tr1', 'tl2', 'bl2', 'br2', 'tr2')


class Cvat(RegionImages):
    """Records of "CVAT for images 1.1" files: boxes, polygons, ellipses, masks and cuboids.

    Every such XML below the source is read. A turned box has the mask of its four corners, an
    upright one none. Polylines, points and skeletons have no area and are left out. The official
    split is the subset of an image, else the name of the XML or the folders.

    Args:
        src (str | Path): Folder or zip with the XMLs and the images.
        classes (Sequence[str] | None): Names in their order; None takes the labels of the project,
            in its order, but for those of marks without an area.
        bit_depth (int): Used bits of images that store 16.
        skip_bad (bool): Leave missing images and faulty shapes to :meth:`read`.

    Raises:
        DatasetError: No such source, no CVAT file, a malformed one, or a missing image.
    """

    def __init__(
        self,
        src: str | Path,
        classes: Sequence[str] | None = None,
        bit_depth: int = 16,
        skip_bad: bool = False,
    ) -> None:
        source = Source(src, _FORMAT)
        entries: list[Listed] = []
        declared: dict[str, str] = {}
        tags: Counter[str] = Counter()
        attributes = 0
        for name in [name for name in source.names if name.lower().endswith('.xml')]:
            root = _root(source, name)
            declared |= _declared(root)
            images = list(root.iter('image'))
            entries += [
                _entry(item, number, name, source.where(name), skip_bad)
                for number, item in enumerate(images, start=1)
            ]
            tags.update((tag.get('label') or '') for item in images for tag in item.iter('tag'))
            attributes += sum(len(shape.findall('attribute')) for item in images for shape in item)
        if not entries:
            raise DatasetError(
                f'{source.path} holds no {_FORMAT} file (*.xml with images)'
                f'{other_formats(source, _FORMAT)}'
            )
        regions = regions_of(entries)
        self.classes = class_names(classes or _classes(declared, regions), ())
        _check_tags(tags, self.classes)
        notes = []
        if tags:
            shown = first_few([f'{count} x {label}' for label, count in sorted(tags.items())])
            notes.append(f'tags of whole images left out: {shown}')
        if attributes:
            notes.append(f'{attributes} attributes of shapes left out')
        super().__init__(source, entries, bit_depth, notes, skip_bad)
        self.has_masks = any(region.window is not None for region in regions)


def _root(source: Source, name: str) -> Element:
    content, where = source.read(name), source.where(name)
    root = parse_xml(content, where)
    if root.tag != 'annotations':
        hint = reader_hint(content, _FORMAT)
        raise DatasetError(
            f'{where}: not a {_FORMAT} file: its root is <{root.tag}>, not <annotations>{hint}'
        )
    if root.find('track') is not None:
        raise DatasetError(f'{where}: not a {_FORMAT} file{reader_hint(content, _FORMAT)}')
    return root


def _declared(root: Element) -> dict[str, str]:
    """Label to type, in the order of the project or the tasks; parts of skeletons left out."""
    return {
        (item.findtext('name') or '').strip(): (item.findtext('type') or 'any').strip()
        for item in root.iter('label')
        if not (item.findtext('parent') or '').strip()
    }


def _classes(declared: dict[str, str], regions: Iterable[Region]) -> list[str]:
    objects: set[str] = set()
    others: set[str] = set()
    for region in regions:
        (objects if region.is_object else others).add(region.label)
    kept = [
        label
        for label, kind in declared.items()
        if label in objects or not (label in others or kind in _NO_OBJECT_TYPES)
    ]
    return kept + natural_order(objects.difference(declared))


def _check_tags(tags: Counter[str], classes: Sequence[str]) -> None:
    for label, count in tags.items():
        if label in classes:
            raise DatasetError(
                f'{count} images carry the class {label!r} as a tag, which says not where it is: '
                'outline it, or take the tag off'
            )


def _entry(item: Element, number: int, name: str, where: str, skip_bad: bool) -> Listed:
    place = f'{where}, image {number}'
    file_name = item.get('name') or ''
    if not file_name.strip('/\\. '):
        raise DatasetError(f'{place}: no name')
    place = f'{place} ({file_name})'
    size = stated_size(item.get('width'), item.get('height'), place)
    split = folder_split(f'{item.get("subset") or ""}/x') or split_of(name)
    entry = Listed(file_name, size, name, split)
    for index, shape in enumerate((shape for shape in item if shape.tag != 'tag'), start=1):
        try:
            entry.annotations.append(_region(shape, f'{place}, shape {index}'))
        except DatasetError as error:
            if not skip_bad:
                raise FileFault(str(error)) from error
            entry.annotations.append(error)
    return entry


def _region(item: Element, where: str) -> Region:
    kind, label = item.tag, (item.get('label') or '').strip()
    if not label:
        raise DatasetError(f'{where}: a {kind} without a label')
    if kind in _NO_AREA:
        return Region(label, kind, where)
    if kind == 'box':
        return _box(item, label, where)
    if kind in ('polygon', 'cuboid'):
        points = _points(item, where) if kind == 'polygon' else _cuboid(item, where)
        return Region(
            label, kind, where, window=lambda w, h: draw_polygons([points], (h, w), where)
        )
    if kind == 'ellipse':
        x, y, a, b = (_number(item, key, where) for key in ('cx', 'cy', 'rx', 'ry'))
        turn = _number(item, 'rotation', where, 0.0)
        return Region(
            label,
            kind,
            where,
            window=lambda w, h: draw_ellipse((x, y), (a, b), turn, (h, w), where),
        )
    if kind == 'mask':
        return Region(label, kind, where, window=_mask(item, where))
    raise DatasetError(
        f'{where}: unknown shape <{kind}>, not one of box, polygon, ellipse, mask, cuboid or, left '
        f'out, {", ".join(_NO_AREA)}'
    )


def _box(item: Element, label: str, where: str) -> Region:
    left, top, right, bottom = (_number(item, key, where) for key in ('xtl', 'ytl', 'xbr', 'ybr'))
    turn = _number(item, 'rotation', where, 0.0) % 360
    if turn == 0:
        return Region(label, 'box', where, corners=lambda w, h: (left, top, right, bottom))
    pivot = ((left + right) / 2, (top + bottom) / 2)
    corners = rotated_corners(left, top, right - left, bottom - top, turn, pivot)
    return Region(label, 'box', where, window=lambda w, h: draw_polygons([corners], (h, w), where))


def _points(item: Element, where: str) -> np.ndarray:
    try:
        points = [
            [float(number) for number in pair.split(',')]
            for pair in (item.get('points') or '').split(';')
        ]
        array = np.array(points, float)
    except ValueError:
        raise DatasetError(f'{where}: points are not x,y;x,y;...') from None
    if array.ndim != 2 or array.shape[1] != 2:
        raise DatasetError(f'{where}: points are not x,y;x,y;...')
    if len(array) < 3:
        raise DatasetError(f'{where}: a polygon of {len(array)} points, at least 3 are needed')
    return array


def _cuboid(item: Element, where: str) -> np.ndarray:
    return hull(
        np.array([[_number(item, f'{axis}{name}', where) for axis in 'xy'] for name in _CUBOID])
    )


def _mask(item: Element, where: str) -> Callable[[int, int], Window]:
    """What draws run lengths of the rows of a window, background first."""
    left, top, width, height = (_whole(item, key, where) for key in _WINDOW)
    try:
        runs = [int(run) for run in (item.get('rle') or '').split(',')]
    except ValueError:
        raise DatasetError(f'{where}: rle is not numbers with commas between') from None
    if any(run < 0 for run in runs) or sum(runs) != width * height:
        raise DatasetError(
            f'{where}: run lengths do not add up to the {width}x{height} pixels of the mask'
        )

    def draw(image_width: int, image_height: int) -> Window:
        if left + width > image_width or top + height > image_height:
            raise DatasetError(
                f'{where}: a mask of {width}x{height} pixels from {left}, {top} on leaves the '
                f'image of {image_width}x{image_height}'
            )
        values = np.arange(len(runs)) % 2 == 1
        return Window(np.repeat(values, runs).reshape(height, width), left, top)

    return draw


def _whole(item: Element, key: str, where: str) -> int:
    value = _number(item, key, where)
    if not value.is_integer() or value < 0:
        raise DatasetError(f'{where}: {key} is {item.get(key)!r}, not a number of pixels')
    return int(value)


def _number(item: Element, key: str, where: str, default: float | None = None) -> float:
    text = item.get(key)
    if text is None and default is not None:
        return default
    try:
        value = float(text or '')
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(f'{where}: {key} is {shortened(text)}, not a number')
    return value
