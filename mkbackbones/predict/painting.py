"""Pictures with what was found drawn on them, and a legend.

mmdet's visualiser draws with matplotlib (3.4 s for 4000x3000 pixels, this takes 0.13 s), writes the
names of classes over small objects, and has no legend; a defect of some pixels has to stay visible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..datasets.palette import clear_classes, make_palette
from .results import Instance, Prediction

__all__ = ['paint']

#: Smaller pictures are enlarged, so that letters beside a defect do not hide it.
_LEAST_SIDE = 480
_OPACITY = 0.45
#: Height of letters beside objects in pixels; the legend of a large picture has larger ones.
_LARGEST_LETTERS = 22
_PAPER, _INK = (255, 255, 255), (32, 32, 32)

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]


def paint(
    pixels: np.ndarray, prediction: Prediction, palette: Sequence[Colour], least: float = 0.0
) -> Image.Image:
    """Draw a prediction on its picture.

    Args:
        pixels (np.ndarray): (height, width[, channels]), BGR.
        prediction (Prediction): What was found there.
        palette (Sequence[tuple[int, int, int]]): RGB colour of each class.
        least (float): Instances with a lower score are left out; the legend tells how many.

    Returns:
        PIL.Image.Image: RGB, with the legend below.
    """
    instances = [instance for instance in prediction.instances if instance.score >= least]
    colours = {instance.label: colour_of(instance, palette) for instance in instances}
    base = rgb(pixels)
    for instance in reversed(instances):
        if instance.mask is not None:
            tint(base, instance, colours[instance.label])
    height, width = base.shape[:2]
    scale = max(1, -(-_LEAST_SIDE // max(height, width)))
    picture = Image.fromarray(base).resize(
        (width * scale, height * scale), Image.Resampling.NEAREST
    )
    size = min(_LARGEST_LETTERS, max(12, max(picture.size) // 60))
    if prediction.class_map is None:
        draw = ImageDraw.Draw(picture)
        # The surest comes last, on top, and scores above all frames.
        for instance in reversed(instances):
            frame(draw, placed(instance, scale, picture.size), colours[instance.label], size)
        for instance in reversed(instances):
            box = placed(instance, scale, picture.size)
            label(draw, box, instance.score, colours[instance.label], size, picture.size)
    left_out = len(prediction.instances) - len(instances)
    size = max(12, max(picture.size) // 60)
    return with_legend(picture, prediction, instances, colours, left_out, least, size)


def colour_of(instance: Instance, palette: Sequence[Colour]) -> Colour:
    """The colour of a class; one of our own where its is that of a background."""
    if instance.label in clear_classes((), palette):
        return make_palette(len(palette))[instance.label]
    return palette[instance.label]


def rgb(pixels: np.ndarray) -> np.ndarray:
    """(height, width, 3) uint8 RGB of whatever a config reads, a copy."""
    if pixels.dtype != np.uint8:
        low, high = float(pixels.min()), float(pixels.max())
        if low < 0 or high > 255:
            pixels = (pixels - low) * (255 / max(high - low, 1e-9))
        pixels = pixels.astype(np.uint8)
    if pixels.ndim == 2 or pixels.shape[2] < 3:
        grey = pixels if pixels.ndim == 2 else pixels[:, :, 0]
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, 2::-1])


def tint(base: np.ndarray, instance: Instance, colour: Colour) -> None:
    """Lay a colour over the pixels of a mask."""
    bitmap: Any = instance.bitmap()
    mixed = base[bitmap] * (1 - _OPACITY) + np.array(colour) * _OPACITY
    base[bitmap] = mixed.round().astype(np.uint8)


def placed(instance: Instance, scale: int, within: tuple[int, int]) -> Box:
    """Left, top, right and bottom of a box in the enlarged picture."""
    left, top, width, height = (value * scale for value in instance.box)
    right, bottom = min(left + width, within[0] - 1), min(top + height, within[1] - 1)
    return left, top, max(left, right), max(top, bottom)


def frame(draw: ImageDraw.ImageDraw, box: Box, colour: Colour, size: int) -> None:
    """The outline of a box."""
    draw.rectangle(box, outline=colour, width=max(2, size // 7))


def label(
    draw: ImageDraw.ImageDraw,
    box: Box,
    score: float,
    colour: Colour,
    size: int,
    within: tuple[int, int],
) -> None:
    """The score of a box, above it where there is room."""
    text = f'{score:.2f}'
    width, height = font(size).getlength(text) + size // 2, size + size // 3
    x = max(0, min(box[0], within[0] - width))
    y = box[1] - height if box[1] >= height else min(box[3], within[1] - height)
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + size // 4, y), text, font=font(size), fill=ink_on(colour))


def with_legend(
    picture: Image.Image,
    prediction: Prediction,
    instances: Sequence[Instance],
    colours: dict[int, Colour],
    left_out: int,
    least: float,
    size: int,
) -> Image.Image:
    """The picture with a strip below: its score, and the classes in it."""
    counts = Counter((instance.label, instance.name) for instance in instances)
    best: dict[int, float] = {}
    for instance in instances:
        best[instance.label] = max(best.get(instance.label, 0.0), instance.score)
    entries: list[tuple[str, Colour | None]] = [(f'defect score {prediction.score:.2f}', None)]
    for (label, name), count in sorted(counts.items()):
        several = f' x{count}' if count > 1 else ''
        entries.append((f'{name}{several} {best[label]:.2f}', colours[label]))
    if not instances:
        entries.append(('nothing found' if not left_out else f'nothing from {least:g} on', None))
    if left_out:
        entries.append((f'{left_out} below {least:g}', None))
    line, margin = round(1.6 * size), size // 2
    places, x, y = [], margin, margin // 2
    for text, colour in entries:
        swatch = 0 if colour is None else line
        width = swatch + round(font(size).getlength(text)) + 2 * margin
        if x > margin and x + width > picture.width:
            x, y = margin, y + line
        places.append((x, y, swatch))
        x += width
    whole = Image.new('RGB', (picture.width, picture.height + y + line + margin // 2), _PAPER)
    whole.paste(picture)
    draw = ImageDraw.Draw(whole)
    for (text, colour), (x, y, swatch) in zip(entries, places):
        y += picture.height
        if colour is not None:
            draw.rectangle((x, y + size // 4, x + size, y + size // 4 + size), fill=colour)
        draw.text((x + swatch, y), text, font=font(size), fill=_INK)
    return whole


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever can be read."""
    red, green, blue = colour
    return (0, 0, 0) if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else (255, 255, 255)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Letters of many languages, which matplotlib brings along."""
    import matplotlib

    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')), size
    )
