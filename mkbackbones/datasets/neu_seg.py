"""NEU-Seg: pixel masks of three classes for 899 images of NEU-DET."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from mkbackbones.datasets.metainfo import NEU_SEG_INSTANCES
from mkbackbones.datasets.neu_det import find_images, natural_order
from mkbackbones.datasets.records import DatasetError, Instance, Record
from mkbackbones.datasets.sources import Source, decode_image
from mkbackbones.datasets.splits import neu_seg_rows

__all__ = ['MIN_AREA', 'NeuSeg', 'components']

MIN_AREA = 9
"""Smallest component in pixels that counts as an instance."""

_MASK = re.compile(r'(?:.*/)?annotations/(training|test)/([^/]+)\.png')


class NeuSeg:
    """Records of NEU-Seg's unrotated masks with their NEU-DET images, on the leak-free split.

    Most files of the published NEU-Seg are rotated or stitched copies; those are left aside. The
    instances are 8-connected components of a class, our own definition, as the source has none.

    Args:
        src (str | Path): The masks, a folder or zip with ``annotations/{training,test}/*.png``.
        images (str | Path): NEU-DET, a folder or zip in either layout.

    Raises:
        DatasetError: No such source, an unknown layout, or missing files. While iterating: a file
            with a fault.
    """

    classes: tuple[str, ...] = NEU_SEG_INSTANCES['classes']
    image_dir = 'images/{split}'

    def __init__(self, src: str | Path, images: str | Path) -> None:
        self.notes: list[str] = []
        self._masks, self._pictures = Source(src, 'NEU-Seg'), Source(images, 'NEU-DET')
        matches = [(name, _MASK.fullmatch(name)) for name in self._masks.names]
        masks = {match.groups(): name for name, match in matches if match}
        if not masks:
            raise DatasetError(
                f'{self._masks.path} does not look like NEU-Seg: expected '
                'annotations/{training,test}/*.png'
            )
        pictures = find_images(self._pictures)
        rows = {row['neudet_id']: row for row in neu_seg_rows()}
        self._rows = []
        for stem in natural_order(rows):
            row = rows[stem]
            key = (row['official'], row['file'].removesuffix('.jpg'))
            if key not in masks:
                raise DatasetError(
                    f'{self._masks.path} is incomplete: annotations/{key[0]}/{key[1]}.png, the '
                    f'mask of {stem}, is missing'
                )
            if stem not in pictures:
                raise DatasetError(f'{self._pictures.path} is incomplete: {stem}.jpg is missing')
            self._rows.append((stem, row['split'], masks[key], pictures[stem]))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Record]:
        dropped = 0
        for stem, split, mask_name, image_name in self._rows:
            image = self._pictures.read(image_name)
            pixels = decode_image(image, self._pictures.where(image_name))
            seg_map = self._seg_map(mask_name, pixels.shape[:2])
            instances, specks = components(seg_map)
            dropped += specks
            height, width = seg_map.shape
            yield Record(split, f'{stem}.jpg', image, width, height, instances, seg_map)
        self.notes[:] = [
            'instances are 8-connected components of a class; '
            f'{dropped} below {MIN_AREA} pixels left out'
        ]

    def _seg_map(self, name: str, shape: tuple[int, int]) -> np.ndarray:
        where = self._masks.where(name)
        seg_map = decode_image(self._masks.read(name), where)
        if seg_map.ndim != 2 or seg_map.dtype != np.uint8:
            raise DatasetError(f'{where}: not an index PNG of one 8-bit channel')
        if seg_map.shape != shape:
            raise DatasetError(
                f'{where}: {seg_map.shape[1]}x{seg_map.shape[0]} pixels, its image has '
                f'{shape[1]}x{shape[0]}'
            )
        if seg_map.max() > len(self.classes):
            raise DatasetError(
                f'{where}: class index {seg_map.max()}, allowed are 0 (background) to '
                f'{len(self.classes)}'
            )
        return seg_map


def components(seg_map: np.ndarray, min_area: int = MIN_AREA) -> tuple[list[Instance], int]:
    """Instances of a class map: the 8-connected components of every class but 0.

    Args:
        seg_map (np.ndarray): Class index per pixel, (height, width); class c has label c - 1.
        min_area (int): Smaller components are left out.

    Returns:
        tuple[list[Instance], int]: The instances, class by class, and how many were left out.
    """
    instances, dropped = [], 0
    for value in np.unique(seg_map[seg_map > 0]).tolist():
        parts, count = ndimage.label(seg_map == value, np.ones((3, 3)))
        for index in range(1, count + 1):
            mask = parts == index
            if mask.sum() < min_area:
                dropped += 1
            else:
                instances.append(Instance.from_mask(value - 1, mask))
    return instances, dropped
