"""A procedural surface-inspection set for detection, instance and semantic segmentation.

It needs no download: it shows that an installation works, drives the tests and serves as a
quick trial before real data. Scores on it say nothing about real defects.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .. import opencv as cv2
from .defects import DEFECT_MAKERS, Defect
from .errors import DatasetError
from .records import SPLITS, Instance, Record
from .textures import Surface, add_distractors, expose, make_surface

__all__ = ['SyntheticDefects']

_COUNT_ODDS = (0.15, 0.30, 0.28, 0.17, 0.10)  # of 0, 1, 2, 3, 4 defects in an image
_MIN_AREA = 9  # pixels at size 128
_ATTEMPTS = 12
_SIZES = (64, 1024)


class SyntheticDefects:
    """Records of grey steel-like surfaces with five classes of defects.

    An image depends on (seed, size, split, its index) alone: a larger count extends a split and
    leaves its first images as they were.

    Args:
        counts (dict[str, int]): Images per split.
        size (int): Image side in pixels, 64 to 1024.
        seed (int): Not negative.

    Raises:
        DatasetError: An argument is out of range.
    """

    classes = tuple(DEFECT_MAKERS)
    image_dir = 'images/{split}'

    def __init__(self, counts: dict[str, int], size: int = 128, seed: int = 0) -> None:
        if not _SIZES[0] <= size <= _SIZES[1]:
            raise DatasetError(
                f'image size {size} is out of range: use {_SIZES[0]} to {_SIZES[1]} pixels'
            )
        if seed < 0:
            raise DatasetError(f'seed {seed} is negative: use 0 or more')
        for split, count in counts.items():
            if count < 1:
                raise DatasetError(f'{split} with {count} images: every split needs at least 1')
        self.counts, self.size, self.seed = counts, size, seed
        self.notes: list[str] = []

    @classmethod
    def from_counts(
        cls, num_train: int, num_val: int, num_test: int, size: int = 128, seed: int = 0
    ) -> SyntheticDefects:
        """Build it from one number of images a split."""
        return cls(dict(train=num_train, val=num_val, test=num_test), size=size, seed=seed)

    def __len__(self) -> int:
        return sum(self.counts.values())

    def read(self, index: int) -> Record:
        """Image ``index``, counted through the splits in their order."""
        for split, count in self.counts.items():
            if index < count:
                return self.record(split, index)
            index -= count
        raise IndexError(f'{index} images too far')

    def record(self, split: str, index: int) -> Record:
        """Draw image ``index`` of a split.

        Returns:
            Record: The PNG, its instances in the order in which they were placed, without
            overlap, and the class map with 0 for the background.
        """
        rng = np.random.default_rng([self.seed, SPLITS.index(split), index])
        surface = make_surface(rng, self.size)
        add_distractors(rng, surface)
        instances: list[Instance] = []
        seg_map = np.zeros((self.size, self.size), np.uint8)
        for _ in range(rng.choice(len(_COUNT_ODDS), p=_COUNT_ODDS)):
            label = int(rng.integers(len(self.classes)))
            defect = self._place(rng, surface, label, seg_map > 0)
            if defect is not None:
                surface.image += defect.delta
                seg_map[defect.mask] = label + 1
                instances.append(Instance.from_mask(label, defect.mask))
        png = cv2.imencode('.png', expose(rng, surface))[1].tobytes()
        return Record(
            split, f'{split}_{index:06d}.png', png, self.size, self.size, instances, seg_map
        )

    def _place(
        self, rng: np.random.Generator, surface: Surface, label: int, taken: np.ndarray
    ) -> Defect | None:
        """Draw a defect until it is visible and clear of the others; None if there is no room."""
        unit = surface.unit
        margin = round(3 * unit)
        taken = ndimage.binary_dilation(taken, iterations=margin) if taken.any() else taken
        for _ in range(_ATTEMPTS):
            defect = DEFECT_MAKERS[self.classes[label]](rng, surface)
            if defect.mask.sum() >= _MIN_AREA * unit**2 and not (defect.mask & taken).any():
                return defect
        return None
