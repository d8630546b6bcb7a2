"""Label Studio: one JSON for many tasks, an image each."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from ..errors import DatasetError, FileFault
from ..formats import reader_hint
from ..images import is_image
from ..naming import first_few, natural_order, shortened
from ..sources import Source
from ..text import flag, parse_json, stated_size
from ..windows import Window, draw_ellipse, draw_polygons, rotated_corners
from .base import class_names, other_formats
from .brush import draw_brush
from .listed import Listed, split_of
from .regions import Region, RegionImages, regions_of

if TYPE_CHECKING:
    from .pairing import Unannotated

__all__ = ['LabelStudio']

_ANSWERS = (
    'choices',
    'datetime',
    'number',
    'pairwise',
    'ranker',
    'rating',
    'relation',
    'taxonomy',
    'textarea',
)

_FORMAT = 'Label Studio'
_UPLOAD = re.compile(r'^[0-9a-f]{8}-')
"""What Label Studio puts before the name of an uploaded file."""


class LabelStudio(RegionImages):
    """Records of Label Studio's "JSON" exports: rectangles, polygons, ellipses and brushes.

    A turned rectangle has the mask of its four corners, an upright one none. Key points have no
    area and are left out. Of several annotations of a task counts the ground truth, else the
    newest that is not cancelled; a task without any is not annotated. The official split is that
    of the name of the JSON or of the folders.

    Args:
        src (str | Path): Folder or zip with the JSONs and the images.
        classes (Sequence[str] | None): Names in their order; None takes those found, sorted.
        unannotated (Unannotated): What the image of a task without an annotation is: ``error``,
            ``negative`` or ``skip``.
        bit_depth (int): Used bits of images that store 16.
        skip_bad (bool): Leave missing images and faulty regions to :meth:`read`.

    Raises:
        DatasetError: No such source, no export, a malformed one, or a missing image.
    """

    def __init__(
        self,
        src: str | Path,
        classes: Sequence[str] | None = None,
        unannotated: Unannotated = 'error',
        bit_depth: int = 16,
        skip_bad: bool = False,
    ) -> None:
        source = Source(src, _FORMAT)
        told: Counter[str] = Counter()
        bare: list[str] = []
        entries: list[Listed] = []
        found = False
        for name in [name for name in source.names if name.lower().endswith('.json')]:
            where = source.where(name)
            for number, task in enumerate(_tasks(source, name), start=1):
                found = True
                entry, annotated = _entry(task, number, name, where, told, skip_bad)
                if not annotated:
                    bare.append(entry.file_name)
                if annotated or unannotated == 'negative':
                    entries.append(entry)
        if not found:
            raise DatasetError(
                f'{source.path} holds no {_FORMAT} file (*.json with tasks)'
                f'{other_formats(source, _FORMAT)}'
            )
        if bare and unannotated == 'error':
            raise DatasetError(
                f'{source.path} has no annotation for {len(bare)} images: {first_few(bare)}; say '
                'what they are: --unannotated negative (without defects) or skip'
            )
        if bare:
            what = 'left out' if unannotated == 'skip' else 'count as free of defects'
            told[f'tasks without an annotation {what}'] = len(bare)
        if not entries:
            raise DatasetError(f'{source.path} holds no task with an annotation')
        regions = regions_of(entries)
        names = natural_order({item.label for item in regions if item.is_object})
        self.classes = class_names(classes or names, ())
        notes = [f'{count} {what}' for what, count in sorted(told.items())]
        super().__init__(source, entries, bit_depth, notes, skip_bad)
        self.has_masks = any(region.window is not None for region in regions)


def _tasks(source: Source, name: str) -> list[dict]:
    """Tasks of a file: a list, or the one task of a file of its own."""
    content, where = source.read(name), source.where(name)
    data = parse_json(content, where)
    tasks = data if isinstance(data, list) else [data]
    for number, task in enumerate(tasks, start=1):
        if not isinstance(task, dict) or not isinstance(task.get('data'), dict):
            raise DatasetError(
                f"{where}: not a {_FORMAT} file: task {number} has no object 'data'"
                f'{reader_hint(content, _FORMAT)}'
            )
    return tasks


def _entry(
    task: dict, number: int, name: str, where: str, told: Counter[str], skip_bad: bool
) -> tuple[Listed, bool]:
    """A task's image with its regions, and whether it is annotated."""
    place = f'{where}, task {shortened(task["id"]) if "id" in task else number}'
    if task.get('predictions'):
        told['tasks with predictions, which are left out'] += 1
    if task.get('drafts'):
        told['tasks with drafts, which are left out'] += 1
    annotation = _chosen(task, place, told)
    results = [] if annotation is None else annotation.get('result')
    if not isinstance(results, list) or not all(isinstance(item, dict) for item in results):
        raise DatasetError(f"{place}: 'result' is no list of objects")
    file_name, others = _image_names(task['data'], results, place)
    entry = Listed(file_name, _size(results, place), name, split_of(name), other_names=others)
    for items in _by_region(results, told).values():
        region: Region | DatasetError
        try:
            region = _region(
                items, told, f'{place} ({file_name}), region {shortened(items[0]["id"])}'
            )
        except DatasetError as error:
            if not skip_bad:
                raise FileFault(str(error)) from error
            region = error
        entry.annotations.append(region)
    return entry, annotation is not None


def _chosen(task: dict, where: str, told: Counter[str]) -> dict | None:
    """The annotation that counts; None for a task without one."""
    annotations = task.get('annotations', task.get('completions', []))
    if not isinstance(annotations, list) or not all(isinstance(a, dict) for a in annotations):
        raise DatasetError(f"{where}: 'annotations' is no list of objects")
    kept = [
        item for item in annotations if not flag(item.get('was_cancelled'), 'was_cancelled', where)
    ]
    told['cancelled annotations left out'] += len(annotations) - len(kept)
    told -= Counter()  # without zeros
    if len(kept) > 1:
        told['tasks have several annotations: the ground truth counts, else the newest'] += 1
    kept = [item for item in kept if flag(item.get('ground_truth'), 'ground_truth', where)] or kept
    return max(kept, key=_age, default=None)


def _age(annotation: dict) -> tuple[str, int]:
    number = annotation.get('id')
    time = annotation.get('updated_at') or annotation.get('created_at') or ''
    return str(time), number if isinstance(number, int) else 0


def _image_names(data: dict, results: list[dict], where: str) -> tuple[str, tuple[str, ...]]:
    """The image of a task below its storage, and what else its file may be called."""
    keys = {item.get('to_name') for item in results if isinstance(item.get('to_name'), str)}
    found = {key: _path(value) for key, value in data.items() if isinstance(value, str)}
    images = {key: path for key, path in found.items() if is_image(path)}
    if len(images) > 1:
        images = {key: path for key, path in images.items() if key in keys | {'image'}}
    if len(images) != 1:
        state = 'several images' if images else 'no image'
        raise DatasetError(f"{where}: 'data' names {state}: {shortened(sorted(map(str, data)))}")
    (path,) = images.values()
    folder, _, file = path.rpartition('/')
    original = _UPLOAD.sub('', file)
    return path, (file, original) if original != file else (file,) if folder else ()


def _path(url: str) -> str:
    """The path in a URL, or behind the ``d=`` of a file in local storage."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    query = parse_qs(parts.query).get('d')
    if query:
        return query[0].replace('\\', '/').lstrip('/')
    if parts.scheme and len(parts.scheme) > 1:
        return unquote(parts.path).lstrip('/')
    # An uploaded file: /data/upload/3/0a1b2c3d-name.png
    path = unquote(url.partition('?')[0]).replace('\\', '/')
    return re.sub(r'^/?data/upload/(?:\d+/)?', '', path).lstrip('/')


def _size(results: list[dict], where: str) -> tuple[int, int] | None:
    stated = [
        stated_size(item.get('original_width'), item.get('original_height'), f'{where}, original')
        for item in results
    ]
    sizes = {size for size in stated if size is not None}
    if len(sizes) > 1:
        raise DatasetError(f'{where}: regions of images of different sizes: {sorted(sizes)}')
    return sizes.pop() if sizes else None


def _by_region(results: list[dict], told: Counter[str]) -> dict[object, list[dict]]:
    """Results by the id that shape and label of a region share; answers without one are told."""
    regions: dict[object, list[dict]] = {}
    for number, item in enumerate(results, start=1):
        key = item.get('id') if isinstance(item.get('id'), str | int) else f'number {number}'
        value = item.get('value') if isinstance(item.get('value'), dict) else {}
        regions.setdefault(key, []).append({**item, 'id': key, 'value': value})
    for key, items in list(regions.items()):
        answers = [item for item in items if _is_answer(item)]
        for item in answers:
            told[f'results of the type {item["type"]} left out'] += 1
            items.remove(item)
        if not items:
            del regions[key]
    return regions


def _is_answer(item: dict) -> bool:
    """Whether a result says something without a place in the image."""
    return item.get('type') in _ANSWERS and _geometry(item['value']) is None


def _geometry(value: dict) -> str | None:
    """The kind of shape in a value, by its keys."""
    if 'rle' in value:
        return 'brush'
    if 'points' in value or 'vertices' in value:
        return 'polygon'
    if 'radiusX' in value:
        return 'ellipse'
    if {'x', 'y', 'width', 'height'} <= value.keys():
        return 'rectangle'
    return 'key point' if {'x', 'y'} <= value.keys() else None


def _labels(value: dict) -> list:
    """The label of a region: rectanglelabels, polygonlabels, ... or labels."""
    for key, content in value.items():
        if key.endswith('labels') and isinstance(content, list):
            return content
    return []


def _bare(value: dict) -> dict:
    """A value without its labels."""
    return {key: content for key, content in value.items() if not key.endswith('labels')}


def _region(items: list[dict], told: Counter[str], where: str) -> Region:
    kinds = [(item, _geometry(item['value'])) for item in items]
    shape, kind = next(((item, kind) for item, kind in kinds if kind), (None, None))
    if shape is None or kind is None:
        found = shortened(items[0].get('type'))
        raise DatasetError(f'{where}: no coordinates of a shape that is read (type {found})')
    value = shape['value']
    shapes = [item['value'] for item in items if _geometry(item['value'])]
    if any(_bare(other) != _bare(value) for other in shapes):
        raise DatasetError(f'{where}: two regions have one id')
    labels = {str(label) for item in items for label in _labels(item['value'])}
    if len(labels) != 1 or not min(labels).strip():
        names = ', '.join(sorted(labels)) or 'none'
        raise DatasetError(f'{where}: a {kind} needs one label, it has {names}')
    (text,) = labels
    label = text.strip()
    if label != text:
        told['labels had blanks around them, which are removed'] += 1
    if shape.get('image_rotation') not in (None, 0):
        raise DatasetError(
            f'{where}: drawn on an image turned by {shape["image_rotation"]!r} degrees: turn it '
            'back in Label Studio'
        )
    if shape.get('item_index') not in (None, 0):
        raise DatasetError(f'{where}: a task of several images (item_index)')
    if kind == 'key point':
        return Region(label, kind, where)
    if kind == 'brush':
        return _brush(value, label, where)
    if kind == 'polygon':
        return _polygon(value, label, where)
    turn = _number(value, 'rotation', where) if 'rotation' in value else 0.0
    if kind == 'ellipse':
        x, y, a, b = (_number(value, key, where) for key in ('x', 'y', 'radiusX', 'radiusY'))

        def draw_this(w: int, h: int) -> Window:
            centre, radii = (x * w / 100, y * h / 100), (a * w / 100, b * h / 100)
            return draw_ellipse(centre, radii, turn, (h, w), where)

        return Region(label, kind, where, window=draw_this)
    x, y, width, height = (_number(value, key, where) for key in ('x', 'y', 'width', 'height'))
    if turn % 360 == 0:

        def corners(w: int, h: int) -> tuple[float, float, float, float]:
            return x * w / 100, y * h / 100, (x + width) * w / 100, (y + height) * h / 100

        return Region(label, kind, where, corners=corners)

    def draw_turned(w: int, h: int) -> Window:
        box = (x * w / 100, y * h / 100, width * w / 100, height * h / 100)
        points = rotated_corners(*box, turn, pivot=box[:2])
        return draw_polygons([points], (h, w), where)

    return Region(label, kind, where, window=draw_turned)


def _polygon(value: dict, label: str, where: str) -> Region:
    if 'points' not in value:
        raise DatasetError(f'{where}: a vector path, which is not read: draw a polygon')
    try:
        points = np.asarray(value['points'], float)
    except (TypeError, ValueError, OverflowError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise DatasetError(f'{where}: points are not pairs of numbers')
    if len(points) < 3:
        raise DatasetError(f'{where}: a polygon of {len(points)} points, at least 3 are needed')
    return Region(
        label,
        'polygon',
        where,
        window=lambda w, h: draw_polygons([points / 100 * (w, h)], (h, w), where),
    )


def _brush(value: dict, label: str, where: str) -> Region:
    runs = value['rle']
    if (
        value.get('format', 'rle') != 'rle'
        or not isinstance(runs, list)
        or not all(type(byte) is int and 0 <= byte < 256 for byte in runs)
    ):
        raise DatasetError(f'{where}: rle is not a list of bytes')
    content = bytes(runs)
    return Region(label, 'brush', where, window=lambda w, h: draw_brush(content, w, h, where))


def _number(value: dict, key: str, where: str) -> float:
    number = value.get(key)
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or not abs(number) < 1e9
        or not math.isfinite(number)
    ):
        raise DatasetError(f'{where}: {key} is {shortened(number)}, not a number')
    return float(number)
