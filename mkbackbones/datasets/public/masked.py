"""What the sets with one mask file an image have in common."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import DatasetError
from ..images import load_image, load_mask
from ..instances import components, specks_fix
from ..records import Record
from ..sources import Source

__all__ = ['MaskedSample', 'MaskedSet', 'read_mask']


@dataclass
class MaskedSample:
    """One image of a set.

    Args:
        stem (str): File name to write, without suffix, unique in the set.
        image (str): Name of the image in the source.
        mask (str | None): Name of what describes its defect; None for an image without one.
        label (int): Class of the defect.
        split (str | None): Official split.
        group (str | None): Images of the same thing have the same group.
        fixes (list[str]): What was mended on the way to this sample.
    """

    stem: str
    image: str
    mask: str | None
    label: int = 0
    split: str | None = None
    group: str | None = None
    fixes: list[str] = field(default_factory=list)


class MaskedSet:
    """A converter whose masks tell defect from background; a sub-class lists the samples.

    Pixels above :attr:`threshold` are defect. Instances are 8-connected components. Where
    :attr:`masks_may_be_empty`, an empty mask says that there is no defect; otherwise it is a fault
    of the set, and reported.

    Args:
        source (Source): The set.
        samples (list[MaskedSample]): The images, in order.
        notes (list[str]): Facts for the summary.
    """

    classes: tuple[str, ...]
    image_dir = 'images/{split}'
    threshold = 0
    masks_may_be_empty = False

    def __init__(
        self, source: Source, samples: list[MaskedSample], notes: list[str] | None = None
    ) -> None:
        self.notes = list(notes or [])
        self._source, self._samples = source, samples

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, index: int) -> Record:
        """Image ``index`` with its class map.

        Raises:
            DatasetError: A file with a fault.
        """
        sample = self._samples[index]
        where = self._source.where(sample.image)
        image = load_image(self._source.read(sample.image), where)
        shape = (image.height, image.width)
        seg_map = np.zeros(shape, np.uint8)
        fixes = sample.fixes + image.fixes
        if sample.mask is not None:
            defect = self._defect(sample, sample.mask, shape)
            seg_map[defect] = sample.label + 1
            if not (self.masks_may_be_empty or defect.any()):
                fixes.append(f'empty mask, image kept as defect-free: {where}')
        instances, dropped = components(seg_map)
        return Record(
            sample.split,
            sample.stem + image.suffix,
            image.content,
            image.width,
            image.height,
            instances,
            seg_map,
            sample.group,
            fixes + specks_fix(dropped, where),
        )

    def _defect(self, sample: MaskedSample, mask: str, shape: tuple[int, int]) -> np.ndarray:
        """Pixels of the defect that ``mask`` describes, (height, width) bool."""
        return read_mask(self._source, mask, shape) > self.threshold


def read_mask(source: Source, name: str, shape: tuple[int, int]) -> np.ndarray:
    """Values of a mask file, (height, width).

    Raises:
        DatasetError: Not readable, in colour, or not of the image's shape.
    """
    where = source.where(name)
    mask = load_mask(source.read(name), where)
    if mask.ndim != 2:
        raise DatasetError(f'{where}: a mask in colour, expected one of grey values')
    if mask.shape != shape:
        raise DatasetError(
            f'{where}: {mask.shape[1]}x{mask.shape[0]} pixels, its image has {shape[1]}x{shape[0]}'
        )
    return mask
