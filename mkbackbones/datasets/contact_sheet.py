"""Many annotated images on one page."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from .palette import clear_classes
from .records import IGNORE

__all__ = ['Tile', 'contact_sheet']

_TILE = 2.3  # inches


@dataclass
class Tile:
    """One annotated image.

    Args:
        image (np.ndarray): RGB (height, width, 3) uint8.
        title (str): Its name.
        boxes (np.ndarray): (n, 4) as x1, y1, x2, y2 in pixels.
        labels (np.ndarray): (n,) class index of each box.
        masks (Sequence[np.ndarray] | np.ndarray | None): Pixels of each box, (height, width) bool.
        seg_map (np.ndarray | None): (height, width) class index of each pixel.
    """

    image: np.ndarray
    title: str
    boxes: np.ndarray
    labels: np.ndarray
    masks: Sequence[np.ndarray] | np.ndarray | None = None
    seg_map: np.ndarray | None = None

    def classes(self, names: Sequence[str], clear: Collection[int] = ()) -> set[str]:
        """Names of the classes in the image, drawn as pixels or as boxes.

        Args:
            names (Sequence[str]): By class index.
            clear (Collection[int]): Indices that are no defect: the background.
        """
        present = {int(label) for label in self.labels}
        if self.seg_map is not None:
            present |= {int(label) for label in np.unique(self.seg_map)}
        return {names[label] for label in present if label < len(names) and label not in clear}

    @property
    def has_ignored(self) -> bool:
        """Whether pixels are neither defect nor background."""
        return self.seg_map is not None and bool((self.seg_map == IGNORE).any())


def contact_sheet(
    tiles: Sequence[Tile], classes: Sequence[str], palette: Sequence[Sequence[int]], title: str
) -> Figure:
    """Draw tiles in rows, with a legend of the classes that occur.

    Args:
        tiles (Sequence[Tile]): At least one.
        classes (Sequence[str]): Names by class index; the background is left clear.
        palette (Sequence[Sequence[int]]): RGB in [0, 255] by class index.
        title (str): Heading.
    """
    columns = min(len(tiles), max(4, math.ceil(math.sqrt(len(tiles)))))
    rows = math.ceil(len(tiles) / columns)
    figure = Figure(figsize=(max(columns, 3) * _TILE, rows * (_TILE + 0.3) + 0.9))
    figure.set_layout_engine('constrained')
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    clear = clear_classes(classes, palette)
    colours = [tuple(np.asarray(colour) / 255) for colour in palette]
    for axis in axes:
        axis.set_axis_off()
    for axis, tile in zip(axes, tiles):
        _draw(axis, tile, classes, colours, clear)
    present = set().union(*(tile.classes(classes, clear) for tile in tiles))
    handles = [
        Patch(color=colour, label=name) for name, colour in zip(classes, colours) if name in present
    ]
    if handles:
        figure.legend(
            handles=handles,
            loc='outside lower center',
            ncols=min(len(handles), columns + 1),
            fontsize=9,
            frameon=False,
        )
    return figure


def _draw(
    axis: Axes,
    tile: Tile,
    classes: Sequence[str],
    colours: Sequence[tuple],
    clear: Collection[int],
) -> None:
    axis.imshow(tile.image)
    empty = not (tile.classes(classes, clear) or tile.has_ignored)
    axis.set_title(
        f'{tile.title}\nno defect' if empty else tile.title,
        fontsize=7,
        color='#00785a' if empty else 'black',
    )
    if empty:
        height, width = tile.image.shape[:2]
        frame = (-0.5, -0.5), width, height
        axis.add_patch(Rectangle(*frame, fill=False, ec='#009e73', lw=3, clip_on=False))
    if tile.seg_map is not None:
        _fill(axis, tile.seg_map, colours, clear)
    for index, (box, label) in enumerate(zip(tile.boxes, tile.labels)):
        colour = colours[int(label)]
        if tile.masks is not None:
            mask = tile.masks[index]
            layer = np.zeros((*mask.shape, 4))
            layer[mask] = (*colour, 0.45)
            axis.imshow(layer, interpolation='nearest')
        x1, y1, x2, y2 = box
        # Pixel centres lie at whole numbers, so that the edges of a box are half a pixel before.
        corner = (x1 - 0.5, y1 - 0.5)
        axis.add_patch(Rectangle(corner, x2 - x1, y2 - y1, fill=False, ec=colour, lw=1.3))


def _fill(
    axis: Axes, seg_map: np.ndarray, colours: Sequence[tuple], clear: Collection[int]
) -> None:
    layer = np.zeros((*seg_map.shape, 4))
    for label in np.unique(seg_map):
        if label < len(colours) and label not in clear:
            layer[seg_map == label] = (*colours[label], 0.5)
    layer[seg_map == IGNORE] = (1, 1, 1, 0.5)
    axis.imshow(layer, interpolation='nearest')
