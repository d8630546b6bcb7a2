"""Labelme, and X-AnyLabeling, which writes the same files: one JSON an image."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ..boxes import clean_box
from ..errors import DatasetError
from ..formats import reader_hint
from ..images import is_image, load_mask
from ..naming import natural_order
from ..records import Instance
from ..sources import Source, normal_form
from ..text import parse_json, stated_size
from ..windows import Window, draw_ellipse, draw_polygons, hull, unite
from .annotated import AnnotatedFiles
from .base import image_names, without_masks
from .pairing import match_files

__all__ = ['IGNORED', 'Labelme', 'LabelmeFile', 'LabelmeShape', 'parse_labelme']

IGNORED = '__ignore__'
"""The label of pixels that neither train nor count, as in labelme's own converters."""
_BACKGROUND = '_background_'

_CORNERED = ('polygon', 'rotation', 'oriented_rectangle', 'quadrilateral', 'cuboid')
_AREAS = (*_CORNERED, 'circle', 'mask')
_NO_AREA = ('point', 'points', 'line', 'linestrip')
_OTHER_LISTS = ('objects', 'annotations', 'regions', 'instances', 'polygons', 'boxes', 'bboxes')
_MIN_POINTS = dict.fromkeys(_CORNERED, 3) | dict(rectangle=2, circle=2, mask=2, cuboid=4)


@dataclass
class LabelmeShape:
    """One shape.

    Args:
        label (str): Class name.
        kind (str): Lower-case name of the kind.
        points (np.ndarray): (n, 2) x and y in pixels.
        group_id (int | str | None): Shapes of a class with the same id are one object.
        where (str): File and number of the shape, for messages.
        bitmap (np.ndarray | None): For ``mask``: the pixels from ``points[0]`` on, bool.
    """

    label: str
    kind: str
    points: np.ndarray
    group_id: int | str | None
    where: str
    bitmap: np.ndarray | None = None

    @property
    def has_area(self) -> bool:
        """Whether it gives a mask: rectangles are boxes."""
        return self.kind in _AREAS

    def window(self, width: int, height: int) -> Window:
        """Pixels of a shape with an area, or of a rectangle."""
        shape = (height, width)
        if self.kind == 'circle':
            radius = math.hypot(*(self.points[1] - self.points[0]))
            return draw_ellipse(tuple(self.points[0]), (radius, radius), 0, shape, self.where)
        if self.kind == 'mask':
            return self._bitmap_window(width, height)
        points = self.points
        if self.kind == 'rectangle':
            (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
            points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        elif self.kind == 'cuboid':
            points = hull(points)
        return draw_polygons([points], shape, self.where)

    def _bitmap_window(self, width: int, height: int) -> Window:
        x, y = np.round(np.clip(self.points.min(axis=0), -1e9, 1e9)).astype(int).tolist()
        left, top = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
        if self.bitmap is None or x >= width or y >= height:
            return Window(np.zeros((1, 1), bool))
        part = self.bitmap[max(-y, 0) :, max(-x, 0) :]
        if not part.size:
            return Window(np.zeros((1, 1), bool))
        return Window(part[: height - top, : width - left], left, top)


@dataclass
class LabelmeFile:
    """Content of one file, without the image.

    Args:
        size (tuple[int, int] | None): Stated width and height.
        shapes (list[LabelmeShape]): In the order of the file.
        image_path (str): The image that it was drawn on, as stated.
        blanks (int): Labels that had blanks around them, which are removed.
    """

    size: tuple[int, int] | None
    shapes: list[LabelmeShape]
    image_path: str = ''
    blanks: int = 0

    @property
    def labels(self) -> list[str]:
        """The class of each shape, without those to be ignored."""
        return [shape.label for shape in self.shapes if shape.label != IGNORED]

    @property
    def has_areas(self) -> bool:
        """Whether any shape gives a mask."""
        return any(shape.has_area and shape.label != IGNORED for shape in self.shapes)

    def instances(
        self, classes: Sequence[str], width: int, height: int
    ) -> tuple[list[Instance], list[str]]:
        """The objects, and what was mended or left out.

        Shapes with an area have a mask; rectangles are boxes without one; points and lines have no
        area and are left out. Shapes labelled ``__ignore__`` are no objects.

        Args:
            classes (Sequence[str]): Allowed names; an instance's label is the index.
            width (int): Image width in pixels.
            height (int): Image height in pixels.

        Raises:
            DatasetError: An unknown class, or a shape far outside of the image.
        """
        instances, fixes = [], []
        groups: dict[tuple, list[Window]] = {}
        for shape in self.shapes:
            if shape.label == IGNORED:
                continue
            if shape.label not in classes:
                raise DatasetError(
                    f'{shape.where}: unknown class {shape.label!r}, not one of {", ".join(classes)}'
                )
            label = list(classes).index(shape.label)
            if shape.kind == 'rectangle':
                (x1, y1), (x2, y2) = shape.points.min(axis=0), shape.points.max(axis=0)
                box, fix = clean_box(
                    float(x1), float(y1), float(x2), float(y2), width, height, shape.where
                )
                fixes += [] if fix is None else [f'{fix}: {shape.where}']
                instances += [] if box is None else [Instance(label, box)]
                continue
            if not shape.has_area:
                fixes.append(f'{shape.kind} without an area dropped: {shape.where}')
                continue
            window = shape.window(width, height)
            if not window.any():
                fixes.append(f'{shape.kind} without a pixel in the image dropped: {shape.where}')
            elif shape.group_id is None:
                instances.append(_instance(label, window))
            else:
                groups.setdefault((label, shape.group_id), []).append(window)
        instances += [_instance(label, unite(parts)) for (label, _), parts in groups.items()]
        return instances, fixes

    def ignored(self, width: int, height: int) -> Window | None:
        """Pixels that the file marks as to be ignored; None if there are none.

        Args:
            width (int): Image width in pixels.
            height (int): Image height in pixels.

        Raises:
            DatasetError: A shape without an area, or far outside of the image.
        """
        shapes = [shape for shape in self.shapes if shape.label == IGNORED]
        for shape in shapes:
            if shape.kind in _NO_AREA:
                raise DatasetError(f'{shape.where}: {IGNORED} on a {shape.kind}, without an area')
        return unite([shape.window(width, height) for shape in shapes]) if shapes else None


def parse_labelme(content: bytes, where: str) -> LabelmeFile:
    """Parse a labelme file.

    Args:
        content (bytes): The JSON.
        where (str): The file's name for messages.

    Raises:
        DatasetError: Malformed JSON, another notation, or a malformed shape.
    """
    data = parse_json(content, where)
    if not isinstance(data, dict) or not isinstance(data.get('shapes'), list):
        raise DatasetError(
            f"{where}: not a labelme file: no list 'shapes'{reader_hint(content, 'labelme')}"
        )
    size = stated_size(data.get('imageWidth'), data.get('imageHeight'), f'{where}, image')
    others = [key for key in _OTHER_LISTS if isinstance(data.get(key), list) and data[key]]
    if others and not data['shapes']:
        raise DatasetError(
            f"{where}: the list 'shapes' is empty, but {others[0]!r} is not: labelme's shapes are "
            "in 'shapes'"
        )
    shapes = [
        _shape(item, f'{where}, shape {number}')
        for number, item in enumerate(data['shapes'], start=1)
    ]
    path = data.get('imagePath')
    return LabelmeFile(
        size,
        shapes,
        path.replace('\\', '/') if isinstance(path, str) else '',
        sum(str(item['label']) != shape.label for item, shape in zip(data['shapes'], shapes)),
    )


def _shape(item: object, where: str) -> LabelmeShape:
    if not isinstance(item, dict):
        raise DatasetError(f'{where}: not an object')
    kind = item.get('shape_type') or 'polygon'  # absent in files of early versions
    kind = kind.lower() if isinstance(kind, str) else kind
    if kind not in (*_AREAS, *_NO_AREA, 'rectangle'):
        raise DatasetError(
            f'{where}: unknown shape_type {kind!r}, not one of rectangle, {", ".join(_AREAS)} or, '
            f'left out, {", ".join(_NO_AREA)}'
        )
    label = item.get('label')
    if isinstance(label, int | float) and not isinstance(label, bool) and math.isfinite(label):
        label = str(label)
    if not isinstance(label, str) or not label.strip():
        raise DatasetError(f'{where}: no label')
    label = label.strip()
    if label == _BACKGROUND:
        raise DatasetError(
            f'{where}: {_BACKGROUND} is no class but what labelme calls the background: remove '
            'the shape'
        )
    try:
        points = np.asarray(item.get('points'), float)
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetError(f'{where}: points that are none ({error})') from None
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise DatasetError(f'{where}: points are not pairs of numbers')
    needed = _MIN_POINTS.get(kind, 0)
    if len(points) < needed:
        raise DatasetError(f'{where}: {kind} of {len(points)} points, at least {needed} are needed')
    group = item.get('group_id')
    if group is not None and not isinstance(group, int | str):
        raise DatasetError(f'{where}: group_id is {group!r}, neither a number nor text')
    bitmap = _bitmap(item.get('mask'), points, where) if kind == 'mask' else None
    return LabelmeShape(label, kind, points, group, where, bitmap)


def _bitmap(text: object, points: np.ndarray, where: str) -> np.ndarray:
    if not isinstance(text, str):
        raise DatasetError(f'{where}: malformed mask (no text)')
    try:
        content = _decoded(text)
    except ValueError as error:
        raise DatasetError(f'{where}: malformed mask ({error})') from None
    bitmap = load_mask(content, where)
    if bitmap.ndim != 2:
        raise DatasetError(f'{where}: malformed mask (in colour)')
    # Corners are pixels and both belong to the mask; some tools write them rounded.
    width, height = (np.ptp(points, axis=0) + 1).tolist()
    if max(abs(bitmap.shape[1] - width), abs(bitmap.shape[0] - height)) > 2:
        raise DatasetError(
            f'{where}: the mask has {bitmap.shape[1]}x{bitmap.shape[0]} pixels, its corners span '
            f'{width:.10g}x{height:.10g}: it belongs to another size of the image'
        )
    return bitmap > 0


def _decoded(text: str) -> bytes:
    """Base64, also behind the head of a data URI (``data:image/png;base64,``).

    Raises:
        ValueError: Not base64.
    """
    return base64.b64decode(re.sub(r'\Adata:[^,]{0,100};base64,', '', text))


def _instance(label: int, window: Window) -> Instance:
    return Instance.from_mask(label, window.mask, x=window.x, y=window.y)


class Labelme(AnnotatedFiles[LabelmeFile]):
    """Records of images with labelme files, matched by stem; arguments of AnnotatedFiles.

    Where no image file has the stem of a file, the image that the file embeds is taken.
    """

    what = 'labelme'
    suffix = '.json'

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.has_masks = any(file.has_areas for file in self._good)
        blanks = sum(file.blanks for file in self._good)
        if blanks:
            self.notes.append(f'blanks around the labels of {blanks} shapes removed')
        if not self.has_masks:
            shapes = [shape for file in self._good for shape in file.shapes]
            count = sum(shape.label == IGNORED for shape in shapes)
            if count:
                self.notes.append(
                    f'{count} shapes labelled {IGNORED} left out, since a set of boxes has no '
                    'class map'
                )

    def _empty(self) -> LabelmeFile:
        return LabelmeFile(None, [])

    def _parse(self, name: str) -> LabelmeFile:
        return parse_labelme(self._source.read(name), self._source.where(name))

    def _find_images(self, source: Source, names: list[str]) -> tuple[list[str], list[str]]:
        files, notes = without_masks([name for name in source.names if is_image(name)])
        _, alone = match_files(source, files, names)
        added = []
        for name in alone:
            content = _embedded(source.read(name), source.where(name))
            if content is not None:
                added.append(f'{name[: -len(self.suffix)]}.png')
                source.add(added[-1], partial(_picture, source, name))
        if added:
            notes.append(f'{len(added)} images taken out of their labelme files')
        if not files and not added:
            image_names(source)  # raises
        return natural_order([*files, *added]), notes

    def _check(self, image: str, name: str, file: LabelmeFile) -> None:
        """A file that was drawn on another image of the set must not go to this one."""
        stated = normal_form((PurePosixPath(name).parent / file.image_path).as_posix())
        if not file.image_path or PurePosixPath(stated).name == normal_form(
            PurePosixPath(image).name
        ):
            return
        if any(normal_form(other) == stated for other in self._source.names):
            raise DatasetError(
                f'{self._source.where(name)}: its imagePath is {file.image_path}, another image of '
                f'the set than {PurePosixPath(image).name}: rename the file, or mend imagePath'
            )


def _picture(source: Source, name: str) -> bytes:
    """The image inside a file that has one."""
    return _embedded(source.read(name), source.where(name)) or b''


def _embedded(content: bytes, where: str) -> bytes | None:
    """The image inside a file; None without one."""
    try:
        data = parse_json(content, where)
    except DatasetError:
        return None  # told when the file is parsed
    text = data.get('imageData') if isinstance(data, dict) else None
    if not isinstance(text, str) or not text:
        return None
    try:
        return _decoded(text)
    except ValueError:
        return None
