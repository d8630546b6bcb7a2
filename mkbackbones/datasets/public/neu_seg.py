"""NEU-Seg: pixel masks of three classes for 899 images of NEU-DET."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..errors import DatasetError
from ..images import load_image, load_mask
from ..instances import components, specks_fix
from ..metainfo import NEU_SEG_INSTANCES
from ..naming import natural_order
from ..records import Record
from ..sources import Source
from ..splits import neu_seg_rows
from .neu_det import find_images

__all__ = ['NeuSeg']

_MASK = re.compile(r'(?:.*/)?annotations/(training|test)/([^/]+)\.png')


class NeuSeg:
    """Records of NEU-Seg's unrotated masks with their NEU-DET images, on the leak-free split.

    Most files of the published NEU-Seg are rotated or stitched copies; those are left aside. The
    instances are 8-connected components of a class, our own definition, as the source has none.

    Args:
        src (str | Path): The masks, a folder or zip with ``annotations/{training,test}/*.png``.
        images (str | Path): NEU-DET, a folder or zip in either layout.

    Raises:
        DatasetError: No such source, an unknown layout, or missing files.
    """

    classes: tuple[str, ...] = NEU_SEG_INSTANCES['classes']
    image_dir = 'images/{split}'

    def __init__(self, src: str | Path, images: str | Path) -> None:
        self.notes = ['instances are 8-connected components of a class']
        self._masks, self._pictures = Source(src, 'NEU-Seg'), Source(images, 'NEU-DET')
        matches = [(name, _MASK.fullmatch(name)) for name in self._masks.names]
        self._mask_names = {
            f'annotations/{match.group(1)}/{match.group(2)}.png': name
            for name, match in matches
            if match
        }
        if not self._mask_names:
            raise DatasetError(
                f'{self._masks.path} does not look like NEU-Seg: expected '
                'annotations/{training,test}/*.png'
            )
        self._image_names = find_images(self._pictures)
        rows = {row['neudet_id']: row for row in neu_seg_rows()}
        self._rows = [rows[stem] for stem in natural_order(rows)]
        self._masks.require(map(_mask_key, self._rows), self._mask_names, 'mask')
        self._pictures.require(
            (f'{row["neudet_id"]}.jpg' for row in self._rows),
            (f'{stem}.jpg' for stem in self._image_names),
            'image',
        )

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> Record:
        """Image ``index`` in the natural order of NEU-DET's stems.

        Raises:
            DatasetError: A file with a fault.
        """
        row = self._rows[index]
        stem, mask_name = row['neudet_id'], self._mask_names[_mask_key(row)]
        seg_map = self._seg_map(mask_name)
        height, width = seg_map.shape
        where = self._masks.where(mask_name)
        image_name = self._image_names[stem]
        image = load_image(
            self._pictures.read(image_name),
            self._pictures.where(image_name),
            size=(width, height),
            size_from=where,
        )
        instances, dropped = components(seg_map)
        return Record(
            row['split'],
            stem + image.suffix,
            image.content,
            width,
            height,
            instances,
            seg_map,
            group=row['group'],
            fixes=image.fixes + specks_fix(dropped, where),
        )

    def _seg_map(self, name: str) -> np.ndarray:
        where = self._masks.where(name)
        seg_map = load_mask(self._masks.read(name), where)
        if seg_map.ndim != 2 or seg_map.dtype != np.uint8:
            raise DatasetError(f'{where}: not an index PNG of one 8-bit channel')
        if seg_map.max() > len(self.classes):
            raise DatasetError(
                f'{where}: class index {seg_map.max()}, allowed are 0 (background) to '
                f'{len(self.classes)}'
            )
        return seg_map


def _mask_key(row: dict[str, str]) -> str:
    return f'annotations/{row["official"]}/{row["file"].removesuffix(".jpg")}.png'
