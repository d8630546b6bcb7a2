"""Draw one test image: ground truth, baseline and candidate."""

from __future__ import annotations

import io
import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from .style import FONT, INK, MUTED, SMALL, columns_of, new_figure
from .truth import Layer

__all__ = ['draw_classified', 'draw_layers', 'to_jpeg']

WIDE = 1.8  # width over height from which images stand one below the other
DPI = 160

Palette = list[tuple[int, int, int]]


def draw_layers(
    pixels: np.ndarray, layers: dict[str, Layer], classes: list[str], palette: Palette
) -> Figure:
    """One image several times, each with what is known or predicted of it.

    Args:
        pixels (ndarray): The image, (H, W, 3) uint8.
        layers (dict[str, Layer]): By title.
        classes (list[str]): Class names.
        palette (Palette): Colour of each class, RGB to 255.
    """
    has_background = classes[0] == 'background'
    present = sorted(set().union(*(layer.present(has_background) for layer in layers.values())))
    present = [label for label in present if label < len(classes)]
    columns_below = columns_of(classes[label] for label in present) if present else 1
    aspect = pixels.shape[1] / pixels.shape[0]
    rows, columns = (len(layers), 1) if aspect > WIDE else (1, len(layers))
    titles = [textwrap.fill(title, 54 // columns) for title in layers]
    lines = max(title.count('\n') for title in titles) + 1
    height = rows * (350 / columns / aspect + 8 + 14 * lines)
    height += 14 * math.ceil(len(present) / columns_below) + 8
    figure = new_figure(height)
    figure.set_layout_engine('compressed')  # for axes of a given aspect
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis, title, layer in zip(axes, titles, layers.values()):
        _draw(axis, pixels, layer, palette, has_background)
        axis.set_title(title, fontsize=SMALL, color=INK)
    if present:
        figure.legend(
            handles=[Patch(color=tuple(_colour(palette, k)), label=classes[k]) for k in present],
            loc='outside lower left',
            ncols=columns_below,
            fontsize=SMALL,
            frameon=False,
            handlelength=1,
            borderpad=0,
        )
    return figure


def draw_classified(pixels: np.ndarray, lines: list[tuple[str, str]]) -> Figure:
    """An image with what was said of it: pairs of who and what."""
    figure = new_figure(132)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.7))
    left.imshow(pixels)
    left.set_axis_off()
    right.set_axis_off()
    for row, (who, what) in enumerate(lines):
        place = 0.92 - row * 0.34
        right.text(0, place, who, fontsize=SMALL, color=MUTED, va='center')
        right.text(0, place - 0.14, what, fontsize=FONT, color=INK, va='center')
    return figure


def to_jpeg(figure: Figure) -> bytes:
    """Render a picture that holds photographs."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    buffer = io.BytesIO()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    image.save(buffer, format='JPEG', quality=85)
    return buffer.getvalue()


def _colour(palette: Palette, label: int) -> np.ndarray:
    return np.array(palette[label]) / 255


def _draw(
    axis: Axes, pixels: np.ndarray, layer: Layer, palette: Palette, has_background: bool
) -> None:
    axis.imshow(pixels)
    axis.set_axis_off()
    if layer.classes is not None:
        known = layer.classes < len(palette)
        shown = known & ((layer.classes > 0) | (not has_background))
        overlay = np.zeros((*layer.classes.shape, 4), dtype=np.uint8)
        overlay[..., :3] = np.array(palette, dtype=np.uint8)[np.where(known, layer.classes, 0)]
        overlay[..., 3] = np.where(shown, 140, 0)
        axis.imshow(overlay, interpolation='nearest')
    for i, box in enumerate(() if layer.boxes is None else layer.boxes):
        colour = _colour(palette, 0 if layer.labels is None else layer.labels[i])
        if layer.masks:
            overlay = np.zeros((*layer.masks[i].shape, 4))
            overlay[layer.masks[i]] = (*colour, 0.5)
            axis.imshow(overlay, interpolation='nearest')
        x1, y1, x2, y2 = box
        axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour, lw=1.6))
    axis.set_xlim(-0.5, pixels.shape[1] - 0.5)
    axis.set_ylim(pixels.shape[0] - 0.5, -0.5)
