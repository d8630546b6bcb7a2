"""Text, JSON and XML as annotation tools leave them: read right, or refused in a sentence."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any
from xml.etree import ElementTree

from mkbackbones.datasets.records import DatasetError

__all__ = ['decode_text', 'parse_json', 'parse_xml']

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
        return json.loads(content, object_pairs_hook=unique)
    except DatasetError:
        raise
    except ValueError as error:
        raise DatasetError(f'{where}: malformed JSON ({error})') from None
    except RecursionError:
        raise DatasetError(f'{where}: malformed JSON (nested too deeply)') from None


def parse_xml(content: bytes, where: str) -> ElementTree.Element:
    """Root of an XML file; entities of its own are refused, since they may grow without bound.

    Args:
        content (bytes): The file.
        where (str): Its name for messages.

    Raises:
        DatasetError: Malformed XML.
    """
    if b'<!ENTITY' in content.replace(b'\0', b''):
        raise DatasetError(f'{where}: XML that declares entities of its own is not read')
    try:
        return ElementTree.fromstring(_declared_text(content))
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DatasetError(f'{where}: malformed XML ({error})') from error


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
