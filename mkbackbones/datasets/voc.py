"""Pascal VOC XML annotations."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from mkbackbones.datasets.records import DatasetError, Instance

__all__ = ['VocAnnotation', 'parse_voc']


@dataclass
class VocAnnotation:
    """Content of one file.

    Args:
        width (int): Image width in pixels.
        height (int): Image height in pixels.
        instances (list[Instance]): Boxes as x, y, width, height from 0.
    """

    width: int
    height: int
    instances: list[Instance]


def parse_voc(content: bytes, classes: tuple[str, ...], where: str) -> VocAnnotation:
    """Parse a VOC file and check it.

    VOC corners count pixels from 1 and include both ends: ``xmin=1, xmax=200`` is a box over the
    whole of a 200 pixel wide image, here x = 0 and width = 200. Objects flagged as difficult or
    truncated are objects like the others.

    Args:
        content (bytes): The XML.
        classes (tuple[str, ...]): Allowed names; an instance's label is the index.
        where (str): The file's name for messages.

    Raises:
        DatasetError: Malformed XML, a missing or non-integer number, an unknown class, an empty
            box or one that leaves the image.
    """
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DatasetError(f'{where}: malformed XML ({error})') from error
    width, height = (_integer(root, f'size/{tag}', where) for tag in ('width', 'height'))
    instances = []
    for number, element in enumerate(root.iter('object'), start=1):
        place = f'{where}, object {number}'
        name = (element.findtext('name') or '').strip()
        if name not in classes:
            raise DatasetError(f'{place}: unknown class {name!r}, not one of {", ".join(classes)}')
        corners = [_integer(element, f'bndbox/{tag}', place) for tag in _CORNERS]
        left, top, right, bottom = corners
        if not (1 <= left <= right <= width and 1 <= top <= bottom <= height):
            raise DatasetError(
                f'{place}: box {dict(zip(_CORNERS, corners))} is empty or leaves the image of '
                f'{width}x{height} pixels (corners count from 1 and are inclusive)'
            )
        box = (left - 1, top - 1, right - left + 1, bottom - top + 1)
        instances.append(Instance(classes.index(name), box))
    return VocAnnotation(width, height, instances)


_CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')


def _integer(element: ElementTree.Element, path: str, where: str) -> int:
    text = element.findtext(path)
    if text is None:
        raise DatasetError(f'{where}: no <{path}>')
    try:
        return int(text)
    except ValueError:
        raise DatasetError(f'{where}: <{path}> is {text!r}, not an integer') from None
