"""What a converter gives and what the writer takes: one record an image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from .windows import Window

__all__ = [
    'IGNORE',
    'SPLITS',
    'Converter',
    'Instance',
    'Record',
    'iter_records',
]

SPLITS = ('train', 'val', 'test')
IGNORE = 255
"""Value in a class map that neither trains nor counts, as mmseg has it."""


@dataclass
class Instance:
    """One annotated object.

    Args:
        label (int): Index into the converter's ``classes``.
        bbox (tuple[float, float, float, float]): x, y, width, height in pixels; x and y are the
            upper left corner of the first pixel, from 0.
        mask (np.ndarray | None): Pixels of the object inside its box, which is tight and whole
            pixels then: (bbox height, bbox width) bool.
        crowd (bool): A region of many objects that nobody told apart: COCO's ``iscrowd``.
    """

    label: int
    bbox: tuple[float, float, float, float]
    mask: np.ndarray | None = None
    crowd: bool = False

    def __post_init__(self) -> None:
        if self.mask is not None and self.mask.shape != (self.bbox[3], self.bbox[2]):
            raise ValueError(
                f'a mask of {self.mask.shape} for a box of height {self.bbox[3]} and width '
                f'{self.bbox[2]}: make the instance with Instance.from_mask'
            )

    @classmethod
    def from_mask(
        cls, label: int, mask: np.ndarray, *, x: int = 0, y: int = 0, crowd: bool = False
    ) -> Instance:
        """The instance of a non-empty mask.

        Args:
            label (int): Index into the converter's ``classes``.
            mask (np.ndarray): (rows, columns) bool: the image's pixels from ``x``, ``y`` on.
            x (int): Column of the image in which the mask begins.
            y (int): Row of the image in which the mask begins.
            crowd (bool): See the class.
        """
        part = Window(mask, x, y).tight()
        height, width = part.mask.shape
        return cls(label, (part.x, part.y, width, height), part.mask, crowd)

    @property
    def area(self) -> float:
        """Pixels of the mask, else of the box."""
        return self.bbox[2] * self.bbox[3] if self.mask is None else int(self.mask.sum())

    def paint(self, canvas: np.ndarray, value: int) -> None:
        """Set the pixels of the mask, else those that the box touches.

        Args:
            canvas (np.ndarray): (height, width), of the whole image.
            value (int): What they become.
        """
        x, y, width, height = self.bbox
        rows = slice(int(y), math.ceil(y + height))
        columns = slice(int(x), math.ceil(x + width))
        if self.mask is None:
            canvas[rows, columns] = value
        else:
            canvas[rows, columns][self.mask] = value


@dataclass
class Record:
    """One image with its annotations.

    Args:
        split (str | None): One of :data:`SPLITS`; None if the set has no official split.
        file_name (str): Name of the image file, without a folder; the stem is unique in the set.
        image (bytes): The encoded image, written as it is.
        width (int): Image width in pixels.
        height (int): Image height in pixels.
        instances (list[Instance]): May be empty.
        seg_map (np.ndarray | None): Class index per pixel, (height, width) uint8: 0 background,
            label + 1, or :data:`IGNORE`.
        group (str | None): Images that share content (crops of one strip, exposures of one part)
            have the same group.
        fixes (list[str]): What was mended, one ``kind: where`` each; summaries count by kind.
    """

    split: str | None
    file_name: str
    image: bytes
    width: int
    height: int
    instances: list[Instance] = field(default_factory=list)
    seg_map: np.ndarray | None = None
    group: str | None = None
    fixes: list[str] = field(default_factory=list)

    @property
    def stem(self) -> str:
        """The file name without its suffix."""
        return self.file_name.rpartition('.')[0]


class Converter(Protocol):
    """A source of records; it checks the layout of its source when it is made.

    Attributes:
        classes: Names of the instance classes, without a background; ``Instance.label`` indexes
            them.
        image_dir: Folder of a split's images below the output, e.g. ``'images/{split}'``.
        notes: Facts worth a line in the summary, known before reading.

    One that knows its official splits before it reads has them as ``splits`` (a set of names), so
    that one of which no image is left is not lost in silence.
    """

    classes: tuple[str, ...]
    image_dir: str
    notes: list[str]

    def __len__(self) -> int: ...

    def read(self, index: int) -> Record:
        """Image ``index`` with its annotations, decoded once.

        Raises:
            DatasetError: A file with a fault; the message names it.
        """
        ...


def iter_records(converter: Converter) -> Iterator[Record]:
    """All records in order."""
    return (converter.read(index) for index in range(len(converter)))
