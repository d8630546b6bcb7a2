"""What a converter yields and what the writer takes: one record an image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

__all__ = ['SPLITS', 'Converter', 'DatasetError', 'Instance', 'Record']

SPLITS = ('train', 'val', 'test')


class DatasetError(ValueError):
    """A source that cannot be converted; the message names the file and what is wrong with it."""


@dataclass
class Instance:
    """One annotated object.

    Args:
        label (int): Index into the converter's ``classes``.
        bbox (tuple[float, float, float, float]): x, y, width, height in pixels; x and y are the
            upper left corner of the first pixel, from 0.
        mask (np.ndarray | None): Pixels of the object, (height, width) bool.
    """

    label: int
    bbox: tuple[float, float, float, float]
    mask: np.ndarray | None = None

    @classmethod
    def from_mask(cls, label: int, mask: np.ndarray) -> Instance:
        """The instance with the tight box of a non-empty mask."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x, y = int(columns[0]), int(rows[0])
        return cls(label, (x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1), mask)


@dataclass
class Record:
    """One image with its annotations.

    Args:
        split (str): One of :data:`SPLITS`.
        file_name (str): Name of the image file, without a folder.
        image (bytes): The encoded image, written as it is.
        width (int): Image width in pixels.
        height (int): Image height in pixels.
        instances (list[Instance]): May be empty.
        seg_map (np.ndarray | None): Class index per pixel, (height, width) uint8.
    """

    split: str
    file_name: str
    image: bytes
    width: int
    height: int
    instances: list[Instance] = field(default_factory=list)
    seg_map: np.ndarray | None = None


class Converter(Protocol):
    """A source of records.

    Attributes:
        classes: Names of the instance classes, without a background; ``Instance.label`` indexes
            them.
        image_dir: Folder of a split's images below the output, e.g. ``'images/{split}'``.
        notes: Facts worth a line in the summary, filled while iterating.
    """

    classes: tuple[str, ...]
    image_dir: str
    notes: list[str]

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Record]: ...
