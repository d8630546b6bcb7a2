"""Maps over a picture: small transparent PNGs that a page lays over a cut of it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..pages import small_jpeg

__all__ = ['View', 'difference', 'intensity', 'jpeg_url', 'view_of']

MORE = (230, 97, 0)
LESS = (0, 114, 210)
#: Least and most pixels of the longer side of a cut.
SIDES = 320, 640
#: Of 255, where a map is largest: the picture shows through.
OPAQUE = 200
#: How much of a window's side is shown around it.
MARGIN = 0.5


@dataclass(frozen=True)
class View:
    """A part of the canvas, in whole cells of a block's grid.

    Args:
        top (int): First row.
        left (int): First column.
        bottom (int): Last row, excluded.
        right (int): Last column, excluded.
        stride (int): Side of a cell in pixels of the canvas.
    """

    top: int
    left: int
    bottom: int
    right: int
    stride: int

    @property
    def aspect(self) -> float:
        """Width over height."""
        return (self.right - self.left) / (self.bottom - self.top)

    def cut(self, maps: np.ndarray) -> np.ndarray:
        """The part of maps (..., rows, columns)."""
        return maps[..., self.top : self.bottom, self.left : self.right]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A point of the canvas in per cent from the left and top of the view."""
        wide = (self.right - self.left) * self.stride
        high = (self.bottom - self.top) * self.stride
        return (
            100 * (x - self.left * self.stride) / wide,
            100 * (y - self.top * self.stride) / high,
        )

    def picture(self, canvas: Image.Image) -> str:
        """The part of the picture in grey, which colours are laid over, as the URL of a JPEG."""
        left, top, right, bottom = (
            side * self.stride for side in (self.left, self.top, self.right, self.bottom)
        )
        part = canvas.crop((left, top, right, bottom))  # black beyond the border
        part = part.convert('L')
        longer = max(part.size)
        if longer < SIDES[0]:
            factor = SIDES[0] / longer
            size = round(part.width * factor), round(part.height * factor)
            part = part.resize(size, Image.Resampling.BICUBIC)
        return jpeg_url(part)


def view_of(seen: tuple[int, int, int, int], grid: tuple[int, int], stride: int) -> View:
    """A window with what lies around it; all of the picture where the window is most of it."""
    top, left, bottom, right = seen
    rows, columns = grid
    if (bottom - top) * (right - left) * 4 > rows * columns:
        return View(0, 0, rows, columns, stride)
    down, aside = round((bottom - top) * MARGIN), round((right - left) * MARGIN)
    return View(
        max(top - down, 0),
        max(left - aside, 0),
        min(bottom + down, rows),
        min(right + aside, columns),
        stride,
    )


def jpeg_url(picture: Image.Image) -> str:
    """A picture within a page."""
    return f'data:image/jpeg;base64,{base64.b64encode(small_jpeg(picture, SIDES[1])).decode()}'


def intensity(values: np.ndarray, most: float) -> str:
    """A map of values from 0 to ``most``, as the URL of a PNG; nothing is drawn where it is NaN."""
    return png_url(np.nan_to_num(values) / max(most, 1e-30), MORE, MORE)


def difference(values: np.ndarray, most: float) -> str:
    """A map of values from ``-most`` to ``most``: orange for more, blue for less."""
    return png_url(np.nan_to_num(values) / max(most, 1e-30), MORE, LESS)


def png_url(values: np.ndarray, more: tuple[int, int, int], less: tuple[int, int, int]) -> str:
    """A map of values from -1 to 1, a pixel a token, the more opaque the larger they are."""
    pixels = np.empty((*values.shape, 4), np.uint8)
    pixels[..., :3] = np.where((values >= 0)[..., None], np.array(more), np.array(less))
    pixels[..., 3] = np.round(np.clip(np.abs(values), 0, 1) * OPAQUE)
    file = io.BytesIO()
    Image.fromarray(pixels, 'RGBA').save(file, 'PNG')
    return f'data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}'
