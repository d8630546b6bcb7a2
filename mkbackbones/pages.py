"""HTML pages in one file: nothing is fetched, nothing in them is run."""

from __future__ import annotations

import html
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ['small_jpeg', 'whole_page']


def whole_page(title: str, style: str, body: str) -> str:
    """A page for a desk or a phone.

    Args:
        title (str): What the browser calls it.
        style (str): CSS.
        body (str): HTML.
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{html.escape(title)}</title><style>{style}</style></head>'
        f'<body>{body}</body></html>\n'
    )


def small_jpeg(picture: Image.Image, side: int) -> bytes:
    """A JPEG of a picture whose longer side has at most so many pixels."""
    small = picture.convert('RGB')
    small.thumbnail((side, side))
    file = io.BytesIO()
    small.save(file, 'JPEG', quality=80)
    return file.getvalue()
