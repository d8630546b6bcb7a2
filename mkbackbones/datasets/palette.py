"""Colours for classes that bring none."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

__all__ = ['clear_classes', 'make_palette']

_GOLDEN = 0.618034
_BACKGROUND = ('background', 'bg')


def make_palette(count: int) -> list[tuple[int, int, int]]:
    """``count`` RGB colours, the first ones far apart in hue; none is black."""
    colours = []
    for index in range(count):
        hue = (0.02 + index * _GOLDEN) % 1
        rgb = colorsys.hsv_to_rgb(hue, (0.75, 0.55, 0.9)[index // 8 % 3], (0.92, 0.75)[index % 2])
        red, green, blue = (round(255 * value) for value in rgb)
        colours.append((red, green, blue))
    return colours


def clear_classes(classes: Sequence[str], palette: Sequence[Sequence[int]]) -> set[int]:
    """Indices that pictures leave clear: the background by its name, or a class drawn in black.

    Args:
        classes (Sequence[str]): Names by index.
        palette (Sequence[Sequence[int]]): RGB colours by index.
    """
    names = {index for index, name in enumerate(classes) if name.strip('_ ').lower() in _BACKGROUND}
    return names | {index for index, colour in enumerate(palette) if not any(colour)}
