"""YOLO: one text file an image, a line an object, as fractions of the image."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import yaml

from mkbackbones.datasets.boxes import clean_box
from mkbackbones.datasets.generic.annotated import FilePerImage
from mkbackbones.datasets.generic.base import class_names, image_names, polygon_mask
from mkbackbones.datasets.generic.pairing import pair_files
from mkbackbones.datasets.images import is_image
from mkbackbones.datasets.records import DatasetError, Instance, Record
from mkbackbones.datasets.sources import Source

__all__ = ['Yolo', 'YoloLine', 'parse_yolo']

_NAME_FILES = ('classes.txt', 'obj.names')
# A fraction far beyond the image is no slip of the annotator: the file is in pixels.
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
            box, fix = clean_box(x - w / 2, y - h / 2, x + w / 2, y + h / 2, width, height)
            return (None if box is None else Instance(self.label, box)), fix
        points = np.reshape(self.values, (-1, 2)) * (width, height)
        mask = polygon_mask([points.ravel()], (height, width))
        if not mask.any():
            return None, 'polygon without a pixel in the image dropped'
        low, high = points.min(axis=0), points.max(axis=0)
        _, fix = clean_box(*low.tolist(), *high.tolist(), width, height)
        clipped = fix is not None and 'clipped' in fix
        return Instance.from_mask(self.label, mask), 'polygon cut to the image' if clipped else None


def parse_yolo(content: bytes, where: str, count: int | None = None) -> list[YoloLine]:
    """Parse a label file; empty lines are skipped.

    Args:
        content (bytes): The text: ``class x y width height`` or ``class x0 y0 x1 y1 x2 y2 ...``.
        where (str): The file's name for messages.
        count (int | None): Number of classes, if known.

    Raises:
        DatasetError: A malformed line, an unknown class, or coordinates that are in pixels.
    """
    objects = []
    for number, line in enumerate(content.decode('utf-8-sig', 'replace').splitlines(), start=1):
        place = f'{where}, line {number}'
        words = line.split()
        if not words:
            continue
        if len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
            raise DatasetError(
                f'{place}: {len(words)} values, expected class x y width height, or class and the '
                'corners of a polygon'
            )
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            raise DatasetError(f'{place}: {line.strip()!r} is not all numbers') from None
        label, values = numbers[0], tuple(numbers[1:])
        if not label.is_integer() or label < 0 or (count is not None and label >= count):
            known = '' if count is None else f', allowed are 0 to {count - 1}'
            raise DatasetError(f'{place}: class {words[0]}{known}')
        if not all(math.isfinite(value) and abs(value) <= _FARTHEST for value in values):
            raise DatasetError(
                f'{place}: coordinates are fractions of the image from 0 to 1, not {words[1:]}'
            )
        objects.append(YoloLine(int(label), values, place))
    return objects


class Yolo(FilePerImage[list[YoloLine]]):
    """Records of images with YOLO files.

    Class names come from ``classes``, else from the ``data.yaml`` (any ``*.yaml`` with ``names``),
    else from ``classes.txt`` or ``obj.names``. The official split is that of the ``data.yaml``
    (folders, or lists of files) where it has one, else that of the folders.

    Args:
        src (str | Path): Folder or zip.
        classes (Sequence[str] | None): Names in their order.
        unannotated (str): What an image without a file is; see
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
        unannotated: str = 'negative',
        bit_depth: int = 16,
        skip_bad: bool = False,
    ) -> None:
        source = Source(src, 'YOLO')
        config_name, config = _config(source)
        self.classes = class_names(_names(source, config, config_name, classes), ())
        images = image_names(source)
        listed = _listed(source, config_name, config, images)
        labels = _label_files(source, images)
        if not labels:
            raise DatasetError(f'{source.path} holds no label file (*.txt)')
        pairs, notes = pair_files(
            source, images, labels, unannotated=unannotated, skip_bad=skip_bad
        )
        if listed and any(image not in listed for image, _ in pairs):
            outside = [image for image, _ in pairs if image not in listed]
            notes.append(f'{len(outside)} images left out that {config_name} has in no split')
            pairs = [pair for pair in pairs if pair[0] in listed]
        images = [image for image, _ in pairs]
        splits = [listed[name] for name in images] if listed else None
        super().__init__(source, images, bit_depth, splits, notes)
        good = self._parse_files([name for _, name in pairs], skip_bad)
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
        return parse_yolo(self._source.read(name), self._source.where(name), len(self.classes))


def _config(source: Source) -> tuple[str, dict]:
    """Name and content of the data.yaml; empty without one."""
    found = []
    for name in source.names:
        if name.lower().endswith(('.yaml', '.yml')):
            try:
                content = yaml.safe_load(source.read(name))
            except yaml.YAMLError as error:
                message = ' '.join(str(error).split())
                raise DatasetError(f'{source.where(name)}: malformed YAML ({message})') from None
            if isinstance(content, dict) and 'names' in content:
                found.append((name, content))
    if len(found) > 1:
        names = ', '.join(name for name, _ in found)
        raise DatasetError(f'{source.path} has several files with class names: {names}')
    return found[0] if found else ('', {})


def _names(
    source: Source, config: dict, config_name: str, given: Sequence[str] | None
) -> Sequence[str]:
    names = given or config.get('names')
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DatasetError(
                f'{source.where(config_name)}: names are numbered {sorted(names)}, not from 0'
            )
        names = [names[index] for index in range(len(names))]
    if names:
        return [str(name) for name in names]
    for name in source.names:
        if PurePosixPath(name).name in _NAME_FILES:
            lines = source.read(name).decode('utf-8-sig', 'replace').splitlines()
            return [line.strip() for line in lines if line.strip()]
    raise DatasetError(
        f'{source.path} has no class names: add a data.yaml or classes.txt, or name them with '
        '--classes'
    )


def _listed(source: Source, config_name: str, config: dict, images: list[str]) -> dict[str, str]:
    """Image to split as the data.yaml says; empty if it says nothing that is there."""
    listed: dict[str, str] = {}
    for split in ('train', 'val', 'test'):
        entries = config.get(split) or []
        for entry in [entries] if isinstance(entries, str) else entries:
            for path in _resolved(str(entry), str(config.get('path') or ''), config_name):
                if path in source.names:
                    files = source.read(path).decode('utf-8', 'replace').splitlines()
                    tails = {_without_dots(line.strip()) for line in files if line.strip()}
                    hits = [name for name in images if any(_ends(name, tail) for tail in tails)]
                else:
                    hits = [name for name in images if name.startswith(f'{path}/') or path == '']
                if hits:
                    listed.update(dict.fromkeys(hits, split))
                    break
    return listed


def _resolved(entry: str, root: str, config_name: str) -> list[str]:
    """Where an entry may lie below the source; roots are often those of another machine."""
    base = PurePosixPath(config_name).parent
    tail = _without_dots(entry)
    places = [base / _without_dots(root) / tail, base / tail, base / PurePosixPath(tail).name]
    return [place.as_posix().removeprefix('./').strip('/') for place in places]


def _without_dots(path: str) -> str:
    return re.sub(r'^(?:\.{0,2}/)+', '', path.replace('\\', '/')).removesuffix('/')


def _ends(name: str, tail: str) -> bool:
    return name == tail or name.endswith(f'/{tail}') or tail.endswith(f'/{name}')


def _label_files(source: Source, images: list[str]) -> list[str]:
    """Text files that stand for an image: beside one, or in a folder called labels."""
    folders = {PurePosixPath(name).parent for name in images}
    return [
        name
        for name in source.names
        if name.lower().endswith('.txt')
        and PurePosixPath(name).name not in _NAME_FILES
        and ('labels' in PurePosixPath(name).parts[:-1] or PurePosixPath(name).parent in folders)
        and not is_image(name)
    ]
