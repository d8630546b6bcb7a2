"""Annotation formats by their content, so that a wrong reader can name the right one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

__all__ = ['name_format', 'reader_hint']

_COCO = 'export it as COCO and take `prepare-dataset coco`'

_READERS = {
    'COCO': 'take `prepare-dataset coco`',
    'labelme': 'take `prepare-dataset labelme`',
    'Pascal VOC': 'take `prepare-dataset voc`',
    'YOLO': 'take `prepare-dataset yolo`',
    'CVAT for images': 'take `prepare-dataset cvat`',
    'Label Studio': 'take `prepare-dataset label-studio`',
    'CVAT for video': 'export it from CVAT as "CVAT for images 1.1" or "COCO 1.0"',
    'Label Studio (JSON-MIN)': 'export it from Label Studio as "JSON", not "JSON-MIN"',
    'LabelMe (XML)': 'convert it to the JSON of labelme, or export COCO',
    'VGG Image Annotator': f'{_COCO} (Export > COCO format)',
    'Supervisely': f'{_COCO} (app "Export to COCO")',
    'Datumaro': f'{_COCO} (datum convert -f coco)',
    'CreateML': _COCO,
    'DOTA': f'{_COCO}, or as YOLO with polygons',
}
_XML_HEAD = 20_000


def reader_hint(content: bytes, own: str) -> str:
    """``; this looks like DOTA: ...``, or nothing where the format is not known.

    Args:
        content (bytes): An annotation file that a reader cannot read.
        own (str): The format of that reader, which is no news.
    """
    found = name_format(content)
    return '' if found in (None, own) else f'; this looks like {found}: {_READERS[found]}'


def name_format(content: bytes) -> str | None:
    """The format of an annotation file, a key of the known ones; None for others.

    Args:
        content (bytes): The file.
    """
    head = content[:_XML_HEAD].lstrip(b'\xef\xbb\xbf \t\r\n')
    if head.startswith(b'<'):
        return _xml_format(head)
    if head.startswith((b'{', b'[')):
        try:
            return _json_format(json.loads(content))
        except (ValueError, RecursionError):
            return None
    return _text_format(head)


def _xml_format(head: bytes) -> str | None:
    if re.search(rb'<annotations[\s/>]', head):
        if re.search(rb'<track[\s/>]', head):
            return 'CVAT for video'
        return 'CVAT for images' if re.search(rb'<(image|version|meta)[\s/>]', head) else None
    if re.search(rb'<annotation[\s/>]', head):
        if b'<polygon>' in head and b'<bndbox>' not in head:
            return 'LabelMe (XML)'
        return 'Pascal VOC'
    return None


def _json_format(data: Any) -> str | None:
    checks: dict[str, Callable[[dict], bool]] = {
        'labelme': lambda item: isinstance(item.get('shapes'), list),
        'Supervisely': lambda item: (
            isinstance(item.get('objects'), list) and isinstance(item.get('size'), dict)
        ),
        'Datumaro': lambda item: (
            isinstance(item.get('items'), list) and isinstance(item.get('categories'), dict)
        ),
        'COCO': lambda item: (
            isinstance(item.get('images'), list) and isinstance(item.get('annotations'), list)
        ),
        'VGG Image Annotator': lambda item: (
            '_via_img_metadata' in item
            or any(isinstance(value, dict) and 'regions' in value for value in item.values())
        ),
    }
    if isinstance(data, dict):
        return next((name for name, fits in checks.items() if fits(data)), None)
    if isinstance(data, list) and data and isinstance(data[0], dict):
        first = data[0]
        if isinstance(first.get('annotations'), list) and isinstance(first.get('data'), dict):
            return 'Label Studio'
        if isinstance(first.get('annotations'), list) and 'image' in first:
            return 'CreateML'
        if 'annotator' in first or 'annotation_id' in first:
            return 'Label Studio (JSON-MIN)'
    return None


def _text_format(head: bytes) -> str | None:
    lines = [line.split() for line in head.splitlines()[:20] if line.strip()]
    if lines and lines[0][0].startswith((b'imagesource:', b'gsd:')):
        return 'DOTA'
    for words in lines:
        if len(words) in (9, 10) and not _is_number(words[8]):
            return 'DOTA' if all(map(_is_number, words[:8])) else None
    if lines and all(len(words) >= 5 and all(map(_is_number, words)) for words in lines):
        return 'YOLO'
    return None


def _is_number(word: bytes) -> bool:
    return re.fullmatch(rb'[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?', word) is not None
