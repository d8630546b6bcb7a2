"""Predictions as files: what other tools read.

Files of one picture are made when it is predicted (:data:`PER_PICTURE`); those of all, at the end,
from records (:data:`OF_ALL`).
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..datasets.polygons import mask_to_polygons
from ..version import __version__
from .alarms import Alarms
from .inputs import Picture
from .results import Instance, Prediction

__all__ = ['FORMATS', 'OF_ALL', 'PER_PICTURE', 'Format', 'Sheet', 'named_from', 'place_of']

Format = Literal['coco', 'csv', 'labelme', 'yolo', 'png']
FORMATS: tuple[Format, ...] = ('coco', 'csv', 'labelme', 'yolo', 'png')
_COLUMNS = ('picture', 'picture_score', 'class', 'score', 'x', 'y', 'width', 'height', 'area')


@dataclass(frozen=True)
class Sheet:
    """What a file about one picture is made of.

    Args:
        prediction (Prediction): What was found.
        classes (Sequence[str]): Names of the classes.
        least (float): Instances with a lower score stay out of files for annotation tools.
        picture (str): The picture, as a file in a folder of the output names it.
    """

    prediction: Prediction
    classes: Sequence[str]
    least: float
    picture: str

    @property
    def sure(self) -> list[Instance]:
        """The instances that annotation tools get."""
        return [one for one in self.prediction.instances if one.score >= self.least]


def labelme(sheet: Sheet) -> bytes:
    """A labelme file: rectangles, or the outlines of masks, whose parts share a group."""
    shapes: list[dict[str, Any]] = []
    for number, instance in enumerate(sheet.sure):
        shared: dict[str, Any] = dict(
            label=instance.name, group_id=None, flags={}, score=instance.score
        )
        if instance.mask is None:
            left, top, width, height = instance.box
            corners = [[left, top], [left + width, top + height]]
            shapes.append(dict(shared, points=corners, shape_type='rectangle'))
            continue
        parts = polygons(instance)
        group = number if len(parts) > 1 else None
        for part in parts:
            points = [part[i : i + 2] for i in range(0, len(part), 2)]
            shapes.append(dict(shared, points=points, shape_type='polygon', group_id=group))
    content: dict[str, Any] = dict(
        version=f'mkbackbones {__version__}',
        flags={},
        shapes=shapes,
        imagePath=sheet.picture,
        imageData=None,
        imageHeight=sheet.prediction.height,
        imageWidth=sheet.prediction.width,
    )
    return json.dumps(content).encode()


def yolo(sheet: Sheet) -> bytes:
    """A YOLO label file: boxes, or the outlines of masks, as fractions of the picture."""
    width, height = sheet.prediction.width, sheet.prediction.height
    lines = []
    for instance in sheet.sure:
        if instance.mask is None:
            left, top, w, h = instance.box
            rows = [[(left + w / 2) / width, (top + h / 2) / height, w / width, h / height]]
        else:
            parts = polygons(instance)
            rows = [
                (np.reshape(part, (-1, 2)) / (width, height)).ravel().tolist() for part in parts
            ]
        lines += [' '.join([str(instance.label), *(f'{v:.6g}' for v in row)]) for row in rows]
    return ''.join(f'{line}\n' for line in lines).encode()


def polygons(instance: Instance) -> list[list[float]]:
    """Outlines of a mask along the edges of its pixels, in pixels of the picture."""
    bitmap: Any = instance.bitmap()
    left, top, width, height = (int(value) for value in tight(bitmap))
    return mask_to_polygons(bitmap[top : top + height, left : left + width], left, top)


def tight(bitmap: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width and height of the pixels of a mask; nothing is 0, 0, 0, 0."""
    rows, columns = np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    return columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1


def png(sheet: Sheet) -> bytes:
    """A class map; of instances (masks, or the inside of boxes), their number from 1 in the
    picture's list, the surest on top."""
    from .. import opencv as cv2

    values = sheet.prediction.class_map
    if values is None:
        shape = sheet.prediction.height, sheet.prediction.width
        values = np.zeros(shape, np.uint16)
        numbered = list(enumerate(sheet.prediction.instances, start=1))
        for number, instance in sorted(numbered, key=lambda entry: entry[1].score):
            left, top, width, height = instance.box
            bitmap = instance.bitmap()
            if bitmap is None:
                rows = slice(round(top), max(round(top) + 1, round(top + height)))
                values[rows, round(left) : max(round(left) + 1, round(left + width))] = number
            else:
                values[bitmap] = number
    return cv2.imencode('.png', values)[1].tobytes()


PER_PICTURE: dict[str, Callable[[Sheet], bytes]] = {'labelme': labelme, 'yolo': yolo, 'png': png}
_PLACES = {
    'labelme': ('labelme', '.json'),
    'yolo': ('yolo/labels', '.txt'),
    'png': ('masks', '.png'),
    'painted': ('painted', '.jpg'),
}


def place_of(kind: str, stem: str) -> str:
    """Where the file of a kind about a picture lies in the output."""
    folder, suffix = _PLACES[kind]
    return f'{folder}/{stem}{suffix}'


def coco(
    classes: Sequence[str],
    found: Sequence[tuple[Picture, Prediction]],
    alarms: Alarms | None = None,
) -> dict[str, str]:
    """A COCO file with scores; class i has the id i + 1."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (picture, prediction) in enumerate(found, start=1):
        image: dict[str, Any] = dict(
            id=number,
            file_name=picture.name,
            width=prediction.width,
            height=prediction.height,
            score=prediction.score,
        )
        if alarms:
            image['alarm'] = alarms.raised(prediction)
            if alarms.by_class:
                image['alarm_by'] = alarms.raised_by(prediction)
        images.append(image)
        for instance in prediction.instances:
            entry: dict[str, Any] = dict(
                id=len(annotations) + 1,
                image_id=number,
                category_id=instance.label + 1,
                bbox=list(instance.box),
                score=instance.score,
                area=instance.area,
                iscrowd=0,
            )
            if instance.mask is not None:
                entry['segmentation'] = instance.mask
            annotations.append(entry)
    categories = [dict(id=number, name=name) for number, name in enumerate(classes, start=1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    return {'predictions.json': json.dumps(content, separators=(',', ':'))}


def table(
    classes: Sequence[str],
    found: Sequence[tuple[Picture, Prediction]],
    alarms: Alarms | None = None,
) -> dict[str, str]:
    """A row an instance, and one with empty cells for a picture without."""
    more = ['alarm', *['alarm_by'] * alarms.by_class] if alarms else []
    with io.StringIO(newline='') as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow([*_COLUMNS[:2], *more, *_COLUMNS[2:]])
        for picture, prediction in found:
            head = [picture.name, f'{prediction.score:.6g}']
            if alarms:
                head.append(str(int(alarms.raised(prediction))))
                if alarms.by_class:
                    head.append('; '.join(alarms.raised_by(prediction)))
            for one in prediction.instances:
                numbers = (one.score, *one.box, one.area)
                rows.writerow([*head, one.name, *(f'{value:.6g}' for value in numbers)])
            if not prediction.instances:
                rows.writerow([*head, *[''] * (len(_COLUMNS) - 2)])
        return {'predictions.csv': file.getvalue()}


def names(
    classes: Sequence[str],
    found: Sequence[tuple[Picture, Prediction]],
    alarms: Alarms | None = None,
) -> dict[str, str]:
    """The class names beside YOLO's labels."""
    return {'yolo/classes.txt': ''.join(f'{name}\n' for name in classes)}


OF_ALL: dict[str, Callable[..., dict[str, str]]] = {'coco': coco, 'csv': table, 'yolo': names}


def named_from(folder: Path, picture: Path) -> str:
    """A picture as a file in ``folder`` names it: relative, or whole on another drive."""
    try:
        return Path(os.path.relpath(picture, folder)).as_posix()
    except ValueError:
        return picture.absolute().as_posix()
