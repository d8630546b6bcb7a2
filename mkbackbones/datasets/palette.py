"""Colours for classes that bring none."""

from __future__ import annotations

import colorsys

__all__ = ['make_palette']

_GOLDEN = 0.618034


def make_palette(count: int) -> list[tuple[int, int, int]]:
    """``count`` RGB colours, the first ones far apart in hue; none is black."""
    colours = []
    for index in range(count):
        hue = (0.02 + index * _GOLDEN) % 1
        rgb = colorsys.hsv_to_rgb(hue, (0.75, 0.55, 0.9)[index // 8 % 3], (0.92, 0.75)[index % 2])
        colours.append(tuple(round(255 * value) for value in rgb))
    return colours
