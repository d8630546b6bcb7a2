"""Pascal VOC XML annotations."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from xml.etree import ElementTree

from .boxes import clean_box
from .errors import DatasetError
from .formats import reader_hint
from .naming import shortened
from .records import Instance
from .text import parse_xml
from .windows import Window

__all__ = ['VocAnnotation', 'VocObject', 'parse_voc']

_CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
_GEOMETRY = frozenset(('bndbox', 'robndbox', 'bbox', 'box', 'polygon', 'points', *_CORNERS))


@dataclass
class VocObject:
    """One object as it is in the file.

    Args:
        name (str): Class name, stripped.
        corners (tuple[float, float, float, float]): xmin, ymin, xmax, ymax; pixels count from 1
            and both ends are included.
        where (str): File, line and number of the object, for messages.
    """

    name: str
    corners: tuple[float, float, float, float]
    where: str


@dataclass
class VocAnnotation:
    """Content of one file.

    Args:
        size (tuple[int, int] | None): Stated width and height; None where the file has none, or
            zeros, as some tools write.
        objects (list[VocObject]): In the order of the file.
        filename (str): The stated name of the image, often out of date.
    """

    size: tuple[int, int] | None
    objects: list[VocObject]
    filename: str = ''

    @property
    def labels(self) -> list[str]:
        """The class of each object."""
        return [item.name for item in self.objects]

    def instances(
        self, classes: tuple[str, ...], width: int, height: int
    ) -> tuple[list[Instance], list[str]]:
        """Boxes from 0, clean, and what was mended.

        VOC corners count pixels from 1 and include both ends: ``xmin=1, xmax=200`` is a box over
        the whole of a 200 pixel wide image, here x = 0 and width = 200. Objects flagged as
        difficult or truncated are objects like the others.

        Args:
            classes (tuple[str, ...]): Allowed names; an instance's label is the index.
            width (int): Image width in pixels.
            height (int): Image height in pixels.

        Raises:
            DatasetError: An unknown class.
        """
        instances, fixes = [], []
        for item in self.objects:
            if item.name not in classes:
                raise DatasetError(
                    f'{item.where}: unknown class {item.name!r}, not one of {", ".join(classes)}'
                )
            left, right = _span(item.corners[0], item.corners[2])
            top, bottom = _span(item.corners[1], item.corners[3])
            box, fix = clean_box(left, top, right, bottom, width, height, item.where)
            if fix is not None:
                fixes.append(f'{fix}: {item.where}')
            if box is not None:
                instances.append(Instance(classes.index(item.name), box))
        return instances, fixes

    def ignored(self, width: int, height: int) -> Window | None:
        """VOC marks no pixels as neither defect nor background."""
        return None


def parse_voc(content: bytes, where: str) -> VocAnnotation:
    """Parse a VOC file.

    Args:
        content (bytes): The XML.
        where (str): The file's name for messages.

    Raises:
        DatasetError: Malformed XML, or a missing number or one that is none.
    """
    root = parse_xml(content, where)
    if root.tag != 'annotation':
        raise DatasetError(
            f'{where}: not a VOC file: its root is <{root.tag}>, not <annotation>'
            f'{reader_hint(content, "Pascal VOC")}'
        )
    elements = list(root.iter('object'))
    odd = next((item.tag for item in root.iter() if _looks_like_object(item.tag)), None)
    if odd is not None:
        raise DatasetError(f'{where}: <{odd}> is not what VOC calls an object: write <object>')
    _check_outside(root, elements, where)
    lines = _object_lines(content, len(elements))
    objects = []
    for number, (element, line) in enumerate(zip(elements, lines), start=1):
        place = f'{where}{line}, object {number}'
        count = len(element.findall('bndbox'))
        if count > 1:
            raise DatasetError(f'{place}: {count} boxes (<bndbox>) in one object')
        if count == 0:
            raise DatasetError(f'{place}: no <bndbox>{reader_hint(content, "Pascal VOC")}')
        x1, y1, x2, y2 = (_number(element, f'bndbox/{tag}', place) for tag in _CORNERS)
        names = [item.text.strip() for item in element.findall('name') if item.text]
        if len(names) != 1 or not names[0]:
            several = f'{len(names)} names (<name>) in one object'
            raise DatasetError(f'{place}: {several if len(names) > 1 else "no <name>"}')
        objects.append(VocObject(names[0], (x1, y1, x2, y2), place))
    return VocAnnotation(_size(root, where), objects, (root.findtext('filename') or '').strip())


def _looks_like_object(tag: str) -> bool:
    return tag != 'object' and _local(tag) in ('object', 'objects')


def _check_outside(
    root: ElementTree.Element, objects: list[ElementTree.Element], where: str
) -> None:
    """Refuse coordinates outside of the objects: the image would count as free of defects."""
    inside = {id(part) for item in objects for part in item.iter()}
    for child in root:
        for part in child.iter():
            names = (_local(name) for name in (part.tag, *part.keys()))
            found = next((name for name in names if name in _GEOMETRY), None)
            if found is not None and id(part) not in inside:
                place = '' if _local(child.tag) in _GEOMETRY else f' in <{child.tag}>'
                raise DatasetError(
                    f'{where}: <{found}>{place} belongs to no <object>, which is what '
                    'VOC calls a defect: write <object> around its name and its box'
                )


def _local(tag: str) -> str:
    """A tag without its namespace, in lower case."""
    return tag.rpartition('}')[2].lower()


def _span(low: float, high: float) -> tuple[float, float]:
    """Inclusive ends counted from 1 to edges from 0, in the given order."""
    return (low - 1, high) if low <= high else (low, high - 1)


def _object_lines(content: bytes, count: int) -> list[str]:
    """``, line N`` of each object; ElementTree does not keep lines."""
    starts = [match.start() for match in re.finditer(rb'<object[\s>]', content)]
    if len(starts) != count:  # a comment holds one, or the file is in UTF-16
        return [''] * count
    return [f', line {content.count(10, 0, start) + 1}' for start in starts]


def _size(root: ElementTree.Element, where: str) -> tuple[int, int] | None:
    if root.find('size/width') is None and root.find('size/height') is None:
        return None
    width, height = (_number(root, f'size/{tag}', where) for tag in ('width', 'height'))
    return (int(width), int(height)) if width > 0 and height > 0 else None


def _number(element: ElementTree.Element, path: str, where: str) -> float:
    text = element.findtext(path)
    if text is None:
        raise DatasetError(f'{where}: no <{path}>')
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(f'{where}: <{path}> is {shortened(text)}, not a number')
    return int(value) if value.is_integer() else value
