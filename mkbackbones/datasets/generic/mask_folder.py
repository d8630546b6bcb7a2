"""A mask file for each image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DatasetError
from ..images import load_mask
from ..instances import components, specks_fix
from ..naming import shortened, stem_of
from ..records import IGNORE, Record
from ..sources import Source
from .base import (
    FileSet,
    class_names,
    image_names,
    other_formats,
    without_masks,
)
from .pairing import Unannotated, pair_files

__all__ = ['MaskFolder', 'MaskValue', 'parse_value']


@dataclass(frozen=True)
class MaskValue:
    """What a class looks like in a mask.

    Args:
        name (str): The class.
        value (int | tuple[int, int, int]): Grey value or palette index, or an RGB colour.
    """

    name: str
    value: int | tuple[int, int, int]


def parse_value(text: str) -> MaskValue:
    """Parse ``1=scratch`` or ``#ff0000=scratch``.

    Raises:
        DatasetError: Something else.
    """
    match = re.fullmatch(r'(?:(\d+)|#([0-9a-fA-F]{6}))=(.+)', text)
    if match is None:
        raise DatasetError(
            f'class {shortened(text)}: write VALUE=NAME, e.g. 1=scratch or #ff0000=scratch; or a '
            'single NAME with --threshold'
        )
    number, colour, name = match.groups()
    if colour is None:
        if len(number) > 5:
            raise DatasetError(
                f'class {shortened(text)}: mask values go up to 65535: write a smaller VALUE'
            )
        return MaskValue(name, int(number))
    red, green, blue = bytes.fromhex(colour)
    return MaskValue(name, (red, green, blue))


class MaskFolder(FileSet):
    """Records of images with a mask each, matched by stem.

    Masks lie in a folder called ``masks`` (or the like), or beside the images with ``suffix``
    behind the stem. Several values may have one name. 0 (black) is the background.

    Args:
        src (str | Path): Folder or zip.
        classes (Sequence[str]): ``VALUE=NAME`` each; a single ``NAME`` with ``threshold``.
        masks (str): Name of the folders that hold the masks.
        suffix (str): End of a mask's stem, e.g. ``_mask`` or ``_GT``.
        threshold (int | None): Pixels above it are the one class.
        ignore (int | None): Value of pixels that neither train nor count.
        unannotated (Unannotated): What an image without a mask is; see
            :func:`~mkbackbones.datasets.generic.pairing.pair_files`.
        bit_depth (int): Used bits of images that store 16.
        skip_bad (bool): Leave faults to :meth:`read`.

    Raises:
        DatasetError: No such source, no mask, files without a partner, or malformed classes.
    """

    has_masks = True

    def __init__(
        self,
        src: str | Path,
        classes: Sequence[str],
        masks: str = 'masks',
        suffix: str = '',
        threshold: int | None = None,
        ignore: int | None = None,
        unannotated: Unannotated = 'error',
        bit_depth: int = 16,
        skip_bad: bool = False,
    ) -> None:
        self._threshold, self._ignore = threshold, ignore
        if threshold is not None:
            if len(classes) != 1 or '=' in classes[0]:
                raise DatasetError('--threshold goes with a single class name')
            if threshold < 0:
                raise DatasetError(
                    f'threshold {threshold}: every pixel is above it; it is 0 or more'
                )
            self._values: list[MaskValue] = []
            self.classes = class_names(classes, ())
        else:
            self._values = [parse_value(text) for text in classes]
            _check_values(self._values, ignore)
            self.classes = class_names(list(dict.fromkeys(item.name for item in self._values)), ())
        self._in_colours = any(isinstance(item.value, tuple) for item in self._values)
        source = Source(src, 'mask-folder')
        files = image_names(source)
        mask_names = [name for name in files if _is_mask(name, masks, suffix)]
        if not mask_names:
            ending = f' whose stem ends with {suffix!r}' if suffix else f' in a folder {masks!r}'
            raise DatasetError(
                f'{source.path} holds no mask{ending}: name the folder with --masks or the end of '
                f'the stems with --suffix{other_formats(source, "mask-folder")}'
            )
        taken = set(mask_names)
        images = [name for name in files if name not in taken]
        _check_pictures(source, images, masks, suffix)
        pairs, notes = pair_files(
            source, images, mask_names, suffix=suffix, unannotated=unannotated, skip_bad=skip_bad
        )
        super().__init__(source, [image for image, _ in pairs], bit_depth, notes=notes)
        self._masks = [mask for _, mask in pairs]

    def read(self, index: int) -> Record:
        """Image ``index`` in the natural order of the names.

        Raises:
            DatasetError: A file with a fault.
        """
        name = self._masks[index]
        if name is None:
            image = self._load(index)
            empty = np.zeros((image.height, image.width), np.uint8)
            return self._record(index, image, [], [], empty)
        where = self._source.where(name)
        mask = load_mask(self._source.read(name), where, colours=self._in_colours)
        seg_map = self._seg_map(mask, where)
        image = self._load(index, seg_map.shape[::-1], where)
        instances, dropped = components(seg_map)
        return self._record(index, image, instances, specks_fix(dropped, where), seg_map)

    def _seg_map(self, mask: np.ndarray, where: str) -> np.ndarray:
        seg_map = np.zeros(mask.shape[:2], np.uint8)
        if self._threshold is not None:
            if mask.ndim == 3:
                raise DatasetError(f'{where}: a colour mask has no threshold: name its colours')
            seg_map[mask > self._threshold] = 1
            return seg_map
        known = np.all(mask == 0, axis=2) if mask.ndim == 3 else mask == 0
        for item in self._values:
            here = _pixels_of(mask, item.value)
            seg_map[here] = self.classes.index(item.name) + 1
            known |= here
        if self._ignore is not None:
            here = _pixels_of(mask, self._ignore)
            seg_map[here] = IGNORE
            known |= here
        if not known.all():
            y, x = np.argwhere(~known)[0].tolist()
            raise DatasetError(
                f'{where}: value {mask[y, x].tolist()} at x {x}, y {y} is no class; known are '
                f'{", ".join(str(item.value) for item in self._values)} and 0, the background'
            )
        return seg_map


def _pixels_of(mask: np.ndarray, value: int | tuple[int, int, int]) -> np.ndarray:
    if mask.ndim == 2:
        if isinstance(value, int):
            return mask == value
        return mask == value[0] if len(set(value)) == 1 else np.zeros(mask.shape, bool)
    return np.all(mask == np.asarray(value), axis=2)


def _check_values(values: Sequence[MaskValue], ignore: int | None) -> None:
    taken = [item.value for item in values] + ([] if ignore is None else [ignore])
    for value in taken:
        if taken.count(value) > 1:
            raise DatasetError(f'mask value {value} is given twice')
    if 0 in taken or (0, 0, 0) in taken:
        raise DatasetError('mask value 0 is the background, not a class')


def _is_mask(name: str, folder: str, suffix: str) -> bool:
    if suffix:
        return stem_of(name).endswith(suffix)
    folders = [part.lower() for part in name.split('/')[:-1]]
    return folder.lower() in folders


def _check_pictures(source: Source, images: list[str], folder: str, suffix: str) -> None:
    """Refuse masks in a second folder (valid/mask beside train/masks), which would be images."""
    pictures, _ = without_masks(images)
    left = sorted(set(images) - set(pictures))
    if left and not suffix:
        raise DatasetError(
            f'{source.where(left[0])} seems to be a mask, but does not lie in a folder {folder!r}: '
            'rename its folder, or name it with --masks'
        )
