"""YOLO: one text file an image, a line an object, as fractions of the image."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ..boxes import clean_box
from ..errors import DatasetError
from ..formats import name_format, reader_hint
from ..naming import first_few, stem_of
from ..records import Instance, Record
from ..sources import Source, normal_form
from ..text import decode_text
from ..windows import draw_polygons
from .annotated import FilePerImage
from .base import (
    class_names,
    image_names,
    other_formats,
    without_masks,
)
from .pairing import Unannotated, pair_files
from .yolo_config import (
    LISTS,
    NAME_FILES,
    YoloConfig,
    class_list,
    is_image_list,
    read_config,
    split_images,
)

__all__ = ['Yolo', 'YoloLine', 'parse_yolo']

_LABEL_FOLDERS = ('labels', 'label', 'annotations', 'annotation', 'txt')
# A fraction this far beyond the image is no slip of the annotator: the file is in pixels, or it is
# the 2 of a key point that is seen.
_FARTHEST = 2


@dataclass
class YoloLine:
    """One object.

    Args:
        label (int): Class number.
        values (tuple[float, ...]): Centre x, y, width and height, or the corners of a polygon.
        where (str): File and line, for messages.
    """

    label: int
    values: tuple[float, ...]
    where: str

    @property
    def is_box(self) -> bool:
        """Whether it is a box and not a polygon."""
        return len(self.values) == 4

    def instance(self, width: int, height: int) -> tuple[Instance | None, str | None]:
        """The object in an image of that size, and what was mended."""
        if self.is_box:
            x, y, w, h = np.multiply(self.values, (width, height, width, height)).tolist()
            box, fix = clean_box(
                x - w / 2, y - h / 2, x + w / 2, y + h / 2, width, height, self.where
            )
            return (None if box is None else Instance(self.label, box)), fix
        points = np.reshape(self.values, (-1, 2)) * (width, height)
        window = draw_polygons([points], (height, width), self.where)
        if not window.any():
            return None, 'polygon without a pixel in the image dropped'
        low, high = points.min(axis=0), points.max(axis=0)
        (x1, y1), (x2, y2) = low.tolist(), high.tolist()
        _, fix = clean_box(x1, y1, x2, y2, width, height)
        clipped = fix is not None and 'clipped' in fix
        instance = Instance.from_mask(self.label, window.mask, x=window.x, y=window.y)
        return instance, 'polygon cut to the image' if clipped else None


def parse_yolo(
    content: bytes, where: str, count: int | None = None, key_points: int = 0
) -> list[YoloLine]:
    """Parse a label file; empty lines are skipped.

    Args:
        content (bytes): The text: ``class x y width height`` or ``class x0 y0 x1 y1 x2 y2 ...``.
        where (str): The file's name for messages.
        count (int | None): Number of classes, if known.
        key_points (int): Values of key points behind each box, which are left out.

    Raises:
        DatasetError: A malformed line, an unknown class, or coordinates that are in pixels.
    """
    objects = []
    for number, line in enumerate(io.StringIO(decode_text(content, where), None), start=1):
        place = f'{where}, line {number}'
        words = line.split()
        if not words:
            continue
        if key_points:
            if len(words) != 5 + key_points:
                raise DatasetError(
                    f'{place}: {len(words)} values, expected class x y width height and '
                    f'{key_points} of key points (kpt_shape)'
                )
            words = words[:5]
        if len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
            raise DatasetError(
                f'{place}: {len(words)} values, expected class x y width height, or class and the '
                f'corners of a polygon{reader_hint(content, "YOLO")}'
            )
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            raise DatasetError(
                f'{place}: {line.strip()!r} is not all numbers{reader_hint(content, "YOLO")}'
            ) from None
        label, values = numbers[0], tuple(numbers[1:])
        if not label.is_integer() or label < 0 or (count is not None and label >= count):
            known = '' if count is None else f', allowed are 0 to {count - 1}'
            raise DatasetError(f'{place}: class {words[0]}{known}')
        if not all(math.isfinite(value) and abs(value) < _FARTHEST for value in values):
            points = '; key points need the kpt_shape of a data.yaml' if 2 in values[4:] else ''
            raise DatasetError(
                f'{place}: coordinates are fractions of the image from 0 to 1, not '
                f'{words[1:]}{points}'
            )
        objects.append(YoloLine(int(label), values, place))
    return objects


class Yolo(FilePerImage[list[YoloLine]]):
    """Records of images with YOLO files.

    Class names come from ``classes``, else from the ``data.yaml`` (any ``*.yaml`` with ``names``),
    else from ``classes.txt`` or ``obj.names``. The official split is that of the ``data.yaml`` or
    of darknet's ``obj.data`` (folders, or lists of files), or of ``train.txt`` and the like, where
    there is one, else that of the folders. Label files lie beside their image, or in any folder.

    Args:
        src (str | Path): Folder or zip.
        classes (Sequence[str] | None): Names in their order.
        unannotated (Unannotated): What an image without a file is; see
            :func:`~mkbackbones.datasets.generic.pairing.pair_files`. YOLO's tools take it as free
            of defects.
        bit_depth (int): Used bits of images that store 16.
        skip_bad (bool): Leave faults to :meth:`read`.

    Raises:
        DatasetError: No such source, no class names, or files without a partner.
    """

    def __init__(
        self,
        src: str | Path,
        classes: Sequence[str] | None = None,
        unannotated: Unannotated = 'negative',
        bit_depth: int = 16,
        skip_bad: bool = False,
    ) -> None:
        source = Source(src, 'YOLO')
        config = read_config(source)
        self._key_points = config.key_points
        names, notes = _names(source, config, classes)
        self.classes = class_names(names, ())
        images, remarks = without_masks(image_names(source))
        notes += remarks
        listed, remarks = split_images(source, config, images)
        notes += remarks
        labels, known, remarks = _label_files(source, config, images)
        notes += remarks
        if not labels:
            raise DatasetError(
                f'{source.path} holds no label file (*.txt) that goes with an image'
                f'{other_formats(source, "YOLO")}'
            )
        pairs, remarks = pair_files(
            source, images, labels, unannotated=unannotated, skip_bad=skip_bad, others=known
        )
        notes += remarks
        if listed and any(image not in listed for image, _ in pairs):
            outside = [image for image, _ in pairs if image not in listed]
            notes.append(f'{len(outside)} images left out that {config.name} has in no split')
            pairs = [pair for pair in pairs if pair[0] in listed]
        if config.key_points:
            notes.append('key points (kpt_shape) left out: the boxes alone are taken')
        images = [image for image, _ in pairs]
        splits = [listed[name] for name in images] if listed else None
        super().__init__(source, images, bit_depth, splits, notes)
        good = self._parse_files([name for _, name in pairs], skip_bad)
        if not good:
            self._tell_faults()
        self.has_masks = any(not item.is_box for file in good for item in file)

    def read(self, index: int) -> Record:
        """Image ``index`` in the natural order of the names.

        Raises:
            DatasetError: A file with a fault.
        """
        file = self._file(index)
        image = self._load(index)
        instances, fixes = [], []
        for item in file:
            instance, fix = item.instance(image.width, image.height)
            instances += [] if instance is None else [instance]
            fixes += [] if fix is None else [f'{fix}: {item.where}']
        return self._record(index, image, instances, fixes)

    def _empty(self) -> list[YoloLine]:
        return []

    def _parse(self, name: str) -> list[YoloLine]:
        content, where = self._source.read(name), self._source.where(name)
        return parse_yolo(content, where, len(self.classes), self._key_points)


def _names(
    source: Source, config: YoloConfig, given: Sequence[str] | None
) -> tuple[Sequence[str], list[str]]:
    """Class names by number, and notes."""
    if given:
        return given, []
    names, file = class_list(source)
    if config.names:
        differ = names and names != config.names
        note = f'{file} names other classes than {config.name}, which counts'
        return config.names, [note] if differ else []
    if names:
        return names, []
    raise DatasetError(
        f'{source.path} has no class names: add a data.yaml or classes.txt, or name them with '
        f'--classes{other_formats(source, "YOLO")}'
    )


def _label_files(
    source: Source, config: YoloConfig, images: list[str]
) -> tuple[list[str], list[str], list[str]]:
    """Text files that are labels, files known to be none, and notes on texts that are neither.

    A file that has an image of its stem is one wherever it lies. Of the others, those in a folder
    of labels are (their image is missing then), and those that look like one.
    """
    lists = {PurePosixPath(entry).name for entries in config.splits.values() for entry in entries}
    stems = {normal_form(stem_of(name)) for name in images}
    folders = {PurePosixPath(name).parent for name in images}
    labels, known, other = [], [], []
    for name in source.names:
        path = PurePosixPath(name)
        if path.name.lower() in NAME_FILES or name in config.name.split(', '):
            known.append(name)
            continue
        if path.suffix.lower() != '.txt':
            continue
        in_labels = any(part.lower() in _LABEL_FOLDERS for part in path.parts[:-1])
        is_list = path.name in lists or ('/' not in name and path.name in LISTS)
        if is_list and not in_labels and is_image_list(source, name):
            known.append(name)
            continue
        beside = path.parent in folders
        paired = in_labels or normal_form(path.stem) in stems
        if paired or _may_be_labels(source.read(name), beside):
            labels.append(name)
        else:
            other.append(name)
    notes = [f'no label files, passed over: {first_few(other)}'] if other else []
    return labels, known, notes


def _may_be_labels(content: bytes, beside: bool) -> bool:
    """Whether a text may be labels; beside an image also one that is empty, or that begins with a
    number."""
    if name_format(content) == 'YOLO':
        return True
    words = content.split(None, 1)
    return beside and (not words or words[0].lstrip(b'\xef\xbb\xbf').isdigit())
