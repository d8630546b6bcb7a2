"""Labelme: one JSON an image."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mkbackbones.datasets.boxes import clean_box
from mkbackbones.datasets.generic.annotated import AnnotatedFiles
from mkbackbones.datasets.generic.base import polygon_mask
from mkbackbones.datasets.images import load_mask
from mkbackbones.datasets.records import DatasetError, Instance

__all__ = ['Labelme', 'LabelmeFile', 'LabelmeShape', 'parse_labelme']

_AREAS = ('polygon', 'circle', 'mask')
_MIN_POINTS = dict(polygon=3, rectangle=2, circle=2, mask=2)


@dataclass
class LabelmeShape:
    """One shape.

    Args:
        label (str): Class name.
        kind (str): ``polygon``, ``rectangle``, ``circle``, ``mask`` or one without an area.
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

    def mask(self, width: int, height: int) -> np.ndarray:
        """Pixels of a shape with an area, (height, width) bool."""
        if self.kind == 'polygon':
            return polygon_mask([self.points.ravel()], (height, width))
        if self.kind == 'circle':
            (x, y), edge = self.points[0], self.points[1]
            rows, columns = np.ogrid[:height, :width]
            radius = np.hypot(*(edge - (x, y)))
            return (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2
        canvas = np.zeros((height, width), bool)
        x, y = np.round(self.points.min(axis=0)).astype(int)
        left, top = max(x, 0), max(y, 0)
        part = self.bitmap[top - y :, left - x :][: max(height - top, 0), : max(width - left, 0)]
        canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
        return canvas


@dataclass
class LabelmeFile:
    """Content of one file, without the image.

    Args:
        size (tuple[int, int] | None): Stated width and height.
        shapes (list[LabelmeShape]): In the order of the file.
    """

    size: tuple[int, int] | None
    shapes: list[LabelmeShape]

    @property
    def labels(self) -> list[str]:
        """The class of each shape."""
        return [shape.label for shape in self.shapes]

    @property
    def has_areas(self) -> bool:
        """Whether any shape gives a mask."""
        return any(shape.kind in _AREAS for shape in self.shapes)

    def instances(
        self, classes: Sequence[str], width: int, height: int
    ) -> tuple[list[Instance], list[str]]:
        """The objects, and what was mended or left out.

        Polygons, circles and masks have a mask; rectangles are boxes without one; points and lines
        have no area and are left out.

        Args:
            classes (Sequence[str]): Allowed names; an instance's label is the index.
            width (int): Image width in pixels.
            height (int): Image height in pixels.

        Raises:
            DatasetError: An unknown class.
        """
        instances, fixes = [], []
        united: dict[tuple, np.ndarray] = {}
        for shape in self.shapes:
            if shape.label not in classes:
                raise DatasetError(
                    f'{shape.where}: unknown class {shape.label!r}, not one of {", ".join(classes)}'
                )
            label = list(classes).index(shape.label)
            if shape.kind == 'rectangle':
                corners = (*shape.points.min(axis=0), *shape.points.max(axis=0))
                box, fix = clean_box(*map(float, corners), width, height)
                fixes += [] if fix is None else [f'{fix}: {shape.where}']
                instances += [] if box is None else [Instance(label, box)]
                continue
            if shape.kind not in _AREAS:
                fixes.append(f'{shape.kind} without an area dropped: {shape.where}')
                continue
            mask = shape.mask(width, height)
            if not mask.any():
                fixes.append(f'{shape.kind} without a pixel in the image dropped: {shape.where}')
            elif shape.group_id is None:
                instances.append(Instance.from_mask(label, mask))
            else:
                key = (label, shape.group_id)
                united[key] = united[key] | mask if key in united else mask
        instances += [Instance.from_mask(label, mask) for (label, _), mask in united.items()]
        return instances, fixes


def parse_labelme(content: bytes, where: str) -> LabelmeFile:
    """Parse a labelme file.

    Args:
        content (bytes): The JSON.
        where (str): The file's name for messages.

    Raises:
        DatasetError: Malformed JSON, another notation, or a malformed shape.
    """
    try:
        data = json.loads(content)
    except ValueError as error:
        raise DatasetError(f'{where}: malformed JSON ({error})') from None
    if not isinstance(data, dict) or not isinstance(data.get('shapes'), list):
        raise DatasetError(f"{where}: not a labelme file: no list 'shapes'")
    size = (data.get('imageWidth'), data.get('imageHeight'))
    shapes = [
        _shape(item, f'{where}, shape {number}')
        for number, item in enumerate(data['shapes'], start=1)
    ]
    return LabelmeFile(size if all(isinstance(side, int) for side in size) else None, shapes)


def _shape(item: dict, where: str) -> LabelmeShape:
    try:
        kind = item.get('shape_type') or 'polygon'  # absent in files of early versions
        points = np.asarray(item['points'], float)
        label = str(item['label'])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f'{where}: no label, or points that are none ({error})') from None
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise DatasetError(f'{where}: points are not pairs of numbers')
    needed = _MIN_POINTS.get(kind, 0)
    if len(points) < needed:
        raise DatasetError(f'{where}: {kind} of {len(points)} points, at least {needed} are needed')
    bitmap = None
    if kind == 'mask':
        try:
            bitmap = load_mask(base64.b64decode(item.get('mask') or ''), where) > 0
        except ValueError as error:
            raise DatasetError(f'{where}: malformed mask ({error})') from None
    return LabelmeShape(label, kind, points, item.get('group_id'), where, bitmap)


class Labelme(AnnotatedFiles):
    """Records of images with labelme files, matched by stem; arguments of AnnotatedFiles."""

    what = 'labelme'
    suffix = '.json'

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.has_masks = any(file.has_areas for file in self._good)

    def _empty(self) -> LabelmeFile:
        return LabelmeFile(None, [])

    def _parse(self, name: str) -> LabelmeFile:
        return parse_labelme(self._source.read(name), self._source.where(name))
