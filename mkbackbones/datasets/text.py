"""Text, JSON and XML as annotation tools leave them: read right, or refused in a sentence."""

from __future__ import annotations

import codecs
import json
import math
import re
import unicodedata
from typing import Any
from xml.etree import ElementTree

import yaml

from .errors import DatasetError
from .naming import shortened

__all__ = [
    'check_class_name',
    'decode_text',
    'flag',
    'parse_json',
    'parse_xml',
    'parse_yaml',
    'stated_size',
]

_MOST_TAGS = 8_000_000
# The longest first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: 'utf-8-sig',
    codecs.BOM_UTF32_LE: 'utf-32',
    codecs.BOM_UTF32_BE: 'utf-32',
    codecs.BOM_UTF16_LE: 'utf-16',
    codecs.BOM_UTF16_BE: 'utf-16',
}


def decode_text(content: bytes, where: str) -> str:
    """Text of a file in UTF-8, or in the encoding that its byte order mark names.

    Args:
        content (bytes): The file.
        where (str): Its name for messages.

    Raises:
        DatasetError: Another encoding: guessing one would change names.
    """
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), 'utf-8')
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f'{where}: not text in UTF-8 (byte {error.start}): save it as UTF-8'
        ) from None
    if '\0' in text:
        raise DatasetError(f'{where}: not text in UTF-8 (a zero byte): save it as UTF-8')
    return text


def parse_json(content: bytes, where: str) -> Any:
    """Content of a JSON file.

    Args:
        content (bytes): The file.
        where (str): Its name for messages.

    Raises:
        DatasetError: Malformed, nested too deeply, or with a key twice in one object, of which
            other readers silently keep the last.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise DatasetError(f'{where}: malformed JSON (the key {twice!r} twice in one object)')
        return found

    try:
        data = json.loads(content, object_pairs_hook=unique)
    except DatasetError:
        raise
    except ValueError as error:
        raise DatasetError(f'{where}: malformed JSON ({_told(error)})') from None
    except RecursionError:
        raise DatasetError(f'{where}: malformed JSON (nested too deeply)') from None
    # Also as bytes of their own: json decodes what UTF-8 does not allow.
    if any(mark in content for mark in (b'\\u', b'\xed', b'\0')):
        _check_surrogates(data, where, 'JSON')
    return data


def parse_yaml(content: bytes, where: str) -> Any:
    """Content of a YAML file, all scalars as text: no dates, and ``no`` stays a name.

    Args:
        content (bytes): The file.
        where (str): Its name for messages.

    Raises:
        DatasetError: Malformed, not in UTF-8, or with a key twice in one mapping.
    """
    text = decode_text(content, where)
    try:
        data = yaml.load(text, Loader=_UniqueLoader)
    except DatasetError:
        raise
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        message = ' '.join(str(error).split())
        raise DatasetError(f'{where}: malformed YAML ({message})') from None
    if '\\' in text:
        _check_surrogates(data, where, 'YAML')
    return data


class _UniqueLoader(yaml.BaseLoader):
    """Refuses a key twice in one mapping, of which others silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.YAMLError(f'the key {shortened(twice)} twice in one mapping')
        return super().construct_mapping(node, deep)


def check_class_name(name: str, where: str = '') -> str:
    """A class name without the blanks around it.

    Args:
        name (str): As a file or the command line has it.
        where (str): The file for the message, with its colon.

    Raises:
        DatasetError: Empty, or with characters that cannot be written or shown.
    """
    bad = next((sign for sign in name.strip() if unicodedata.category(sign) in _UNFIT), None)
    if bad is not None:
        raise DatasetError(
            f'{where}the class name {shortened(name)} holds {bad!r}, which is no letter: rename it'
        )
    return name.strip()


# Controls, halves of characters, and line ends.
_UNFIT = ('Cc', 'Cs', 'Zl', 'Zp')


def flag(value: object, what: str, where: str) -> bool:
    """A truth value of a JSON: true, false, 0 or 1; none is false.

    Args:
        value (object): As the file has it. The text of a truth value is true for Python.
        what (str): Its key.
        where (str): Its place, for messages.

    Raises:
        DatasetError: Anything else.
    """
    if value is None or (isinstance(value, bool | int | float) and value in (0, 1)):
        return bool(value)
    raise DatasetError(f'{where}: {what} is {shortened(value)}, not 0, 1, true or false')


def stated_size(width: Any, height: Any, where: str) -> tuple[int, int] | None:
    """Width and height as a JSON states them; None where it has none, or zeros.

    Args:
        width (Any): In pixels; text and 400.0 are taken for the number that they are.
        height (Any): Likewise.
        where (str): Their place, for messages.

    Raises:
        DatasetError: Something that is no whole number of pixels.
    """
    sides = []
    for value, what in ((width, 'width'), (height, 'height')):
        if value is None or value == '':
            return None
        try:
            side = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            side = math.nan
        if not side.is_integer() or not -1 <= side < 1e9:
            raise DatasetError(f'{where}: {what} is {shortened(value)}, not a number of pixels')
        sides.append(int(side))
    return (sides[0], sides[1]) if min(sides) > 0 else None


def _check_surrogates(data: Any, where: str, what: str) -> None:
    """Refuse halves of characters (``\\ud800`` alone): no file can hold them."""
    stack = [data]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            stack += item
        elif isinstance(item, str) and re.search('[\ud800-\udfff]', item):
            raise DatasetError(
                f'{where}: malformed {what} ({shortened(item)} holds half a character)'
            )


def parse_xml(content: bytes, where: str) -> ElementTree.Element:
    """Root of an XML file; entities of its own are refused, since they may grow without bound.

    Args:
        content (bytes): The file.
        where (str): Its name for messages.

    Raises:
        DatasetError: Malformed XML.
    """
    if content.count(b'<') > _MOST_TAGS:
        raise DatasetError(
            f'{where}: XML of more than {_MOST_TAGS // 10**6} million tags is not read: split it'
        )
    if b'<!ENTITY' in content.replace(b'\0', b''):
        raise DatasetError(f'{where}: XML that declares entities of its own is not read')
    try:
        return ElementTree.fromstring(_declared_text(content))
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DatasetError(f'{where}: malformed XML ({error})') from error


def _told(error: ValueError) -> str:
    """What the parser says; Python's advice on numbers of thousands of digits is not for users."""
    return 'a number of thousands of digits' if 'int_max_str' in str(error) else str(error)


def _declared_text(content: bytes) -> bytes | str:
    """Text in an encoding of several bytes a letter (GB2312, Shift JIS), which expat cannot read;
    any other content as it is."""
    declared = re.match(rb'<\?xml[^>]*?encoding=["\']([A-Za-z0-9._-]+)["\'][^>]*\?>', content)
    if declared is None:
        return content
    try:
        name = codecs.lookup(declared[1].decode()).name
    except LookupError:
        return content
    if name.startswith('utf') or name in ('ascii', 'iso8859-1'):
        return content
    return content[declared.end() :].decode(name)
