"""Severstal steel defect detection: 12,568 labelled strips, four kinds of defect, run lengths."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import DatasetError
from ..images import load_image
from ..instances import components, specks_fix
from ..metainfo import SEVERSTAL
from ..naming import stem_of
from ..records import Record
from ..sources import Source

__all__ = ['Severstal', 'decode_runs']


class Severstal:
    """Records of the Severstal competition's training images, without an official split.

    The masks of the test images were never published. Both forms of ``train.csv`` are read:
    ``ImageId,ClassId,EncodedPixels``, with rows for defects only, and the older
    ``ImageId_ClassId,EncodedPixels``, with four rows an image. An image without a run is
    defect-free. Where two classes overlap, the class map has the higher one, the instances have
    both.

    Args:
        src (str | Path): Folder or zip of ``train.csv`` and ``train_images/*.jpg``.

    Raises:
        DatasetError: No such source, an unknown layout, a malformed table, or missing images.
    """

    classes: tuple[str, ...] = SEVERSTAL['classes']
    image_dir = 'images/{split}'

    def __init__(self, src: str | Path) -> None:
        self.notes = ['only the training images: the labels of the test images are not public']
        self._source = source = Source(src, 'Severstal')
        table = next((name for name in source.names if name.split('/')[-1] == 'train.csv'), None)
        folder = f'{(table or "").removesuffix("train.csv")}train_images/'
        images = [n for n in source.names if table is not None and n.startswith(folder)]
        if table is None or not images:
            raise DatasetError(
                f'{source.path} does not look like Severstal: expected train.csv beside '
                'train_images/*.jpg'
            )
        self._runs: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
        for image, label, runs, where in _read_table(source, table):
            self._runs[folder + image].append((label, runs, where))
        source.require(self._runs, images, 'image')
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def read(self, index: int) -> Record:
        """Image ``index`` in the order of the file names.

        Raises:
            DatasetError: A file with a fault, or runs that leave the image.
        """
        name = self._images[index]
        where = self._source.where(name)
        image = load_image(self._source.read(name), where)
        seg_map = np.zeros((image.height, image.width), np.uint8)
        instances, fixes = [], list(image.fixes)
        for label, runs, row in sorted(self._runs.get(name, ())):
            mask = decode_runs(runs, seg_map.shape, row)
            seg_map[mask] = label + 1
            parts, dropped = components(np.where(mask, label + 1, 0))
            instances += parts
            fixes += specks_fix(dropped, where)
        return Record(
            None,
            stem_of(name) + image.suffix,
            image.content,
            image.width,
            image.height,
            instances,
            seg_map,
            fixes=fixes,
        )


def _read_table(source: Source, name: str) -> Iterator[tuple[str, int, str, str]]:
    """Image, label, runs and place of each row with a defect."""
    rows = csv.DictReader(io.StringIO(source.read(name).decode('utf-8-sig')))
    fields = set(rows.fieldnames or ())
    joint = {'ImageId_ClassId', 'EncodedPixels'} <= fields
    if not joint and not {'ImageId', 'ClassId', 'EncodedPixels'} <= fields:
        raise DatasetError(
            f'{source.where(name)}: columns {", ".join(rows.fieldnames or ())}, expected '
            'ImageId,ClassId,EncodedPixels or ImageId_ClassId,EncodedPixels'
        )
    for row in rows:
        where = f'{source.where(name)}, line {rows.line_num}'
        key = row['ImageId_ClassId'] if joint else f'{row["ImageId"]}_{row["ClassId"]}'
        image, _, kind = (key or '').rpartition('_')
        if kind not in ('1', '2', '3', '4'):
            raise DatasetError(f'{where}: class {kind!r}, allowed are 1 to 4')
        if row['EncodedPixels'] and row['EncodedPixels'].strip():
            yield image, int(kind) - 1, row['EncodedPixels'], where


def decode_runs(runs: str, shape: tuple[int, int], where: str) -> np.ndarray:
    """Mask of run lengths: pairs of a start, from 1, and a length, down the columns.

    Args:
        runs (str): E.g. ``'1 3 10 5'``.
        shape (tuple[int, int]): Height and width in pixels.
        where (str): The row, for messages.

    Returns:
        np.ndarray: (height, width) bool.

    Raises:
        DatasetError: Not pairs of positive integers, or a run that leaves the image.
    """
    try:
        numbers = np.array(runs.split(), dtype=np.int64)
    except (ValueError, OverflowError):
        raise DatasetError(f'{where}: the runs are not integers') from None
    if len(numbers) % 2 or (numbers < 1).any():
        raise DatasetError(f'{where}: the runs are no pairs of a start from 1 and a length')
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    pixels = shape[0] * shape[1]
    if len(starts) and (starts + lengths).max() > pixels:
        raise DatasetError(f'{where}: a run ends beyond the last of {pixels} pixels')
    flat = np.zeros(pixels, bool)
    for start, length in zip(starts.tolist(), lengths.tolist()):
        flat[start : start + length] = True
    return flat.reshape(shape, order='F')
