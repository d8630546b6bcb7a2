"""DAGM 2007: ten generated textures, one kind of defect each, marked by ellipses."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from ..errors import DatasetError
from ..metainfo import DAGM
from ..naming import natural_order
from ..sources import Source
from .masked import MaskedSample, MaskedSet

__all__ = ['Dagm', 'ellipse_mask']

_SPLIT_IMAGE = re.compile(r'(?:.*/)?Class(10|[1-9])/(Train|Test)/([^/]+)\.png', re.IGNORECASE)
_PLAIN_IMAGE = re.compile(r'(?:.*/)?Class(10|[1-9])(_def)?/(\d+)\.png', re.IGNORECASE)


class Dagm(MaskedSet):
    """Records of DAGM 2007, in either layout.

    * Later: ``Class<N>/{Train,Test}/*.PNG``, ellipses as ``Label/*_label.PNG``, official split.
    * Original: ``Class<N>/*.png`` without defects, ``Class<N>_def/*.png`` with one each, ellipses
      in ``Class<N>_def/labels.txt``, no split.

    The ellipses are weak labels: they cover a defect and ground around it.

    Args:
        src (str | Path): The folder or the zip, with any of the ten classes.

    Raises:
        DatasetError: No such source, an unknown layout, missing or malformed labels.
    """

    classes: tuple[str, ...] = DAGM['classes']

    def __init__(self, src: str | Path) -> None:
        source = Source(src, 'DAGM 2007')
        self._ellipses: dict[str, tuple[float, ...]] = {}
        samples = _split_samples(source) or self._plain_samples(source)
        if not samples:
            raise DatasetError(
                f'{source.path} does not look like DAGM 2007: expected '
                'Class<N>/{Train,Test}/*.PNG with Label/*_label.PNG, or Class<N>/*.png and '
                'Class<N>_def/*.png with Class<N>_def/labels.txt'
            )
        super().__init__(source, samples, ['labels are ellipses around the defects, not outlines'])

    def _plain_samples(self, source: Source) -> list[MaskedSample]:
        samples = []
        for name in natural_order(source.names):
            match = _PLAIN_IMAGE.fullmatch(name)
            if match is None:
                continue
            number, defect, stem = match.groups()
            samples.append(
                MaskedSample(
                    f'class_{number}{"_def" if defect else ""}_{stem}',
                    name,
                    name if defect else None,  # the key of its ellipse
                    int(number) - 1,
                )
            )
        self._read_ellipses(source)
        defects = [item.image for item in samples if item.mask]
        bare = [name for name in defects if name not in self._ellipses]
        if bare:
            raise DatasetError(
                f'{source.path}: no line in labels.txt for {len(bare)} of {len(defects)} images '
                f'with a defect, the first is {bare[0]}'
            )
        return samples

    def _read_ellipses(self, source: Source) -> None:
        images = {
            (name.rpartition('/')[0], int(match.group(3))): name
            for name in source.names
            if (match := _PLAIN_IMAGE.fullmatch(name))
        }
        for name in source.names:
            folder, _, file = name.rpartition('/')
            if file.lower() != 'labels.txt' or not folder.endswith('_def'):
                continue
            lines = source.read(name).decode('utf-8', 'replace').splitlines()
            for count, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    number, *ellipse = map(float, line.split())
                    if len(ellipse) != 5 or min(ellipse[:2]) <= 0:
                        raise ValueError
                except ValueError:
                    raise DatasetError(
                        f'{source.where(name)}, line {count}: {line.strip()!r}, expected number, '
                        'two semi-axes, rotation and centre x, y'
                    ) from None
                image = images.get((folder, int(number)))
                if image is not None:
                    self._ellipses[image] = tuple(ellipse)

    def _defect(self, sample: MaskedSample, mask: str, shape: tuple[int, int]) -> np.ndarray:
        if mask == sample.image:
            major, minor, rotation, x, y = self._ellipses[sample.image]
            return ellipse_mask(major, minor, rotation, x, y, shape)
        return super()._defect(sample, mask, shape)


def _split_samples(source: Source) -> list[MaskedSample]:
    there = {name.lower(): name for name in source.names}
    samples = []
    for name in natural_order(source.names):
        match = _SPLIT_IMAGE.fullmatch(name)
        if match is None:
            continue
        number, split, stem = match.groups()
        label = f'{name.rpartition("/")[0]}/Label/{stem}_label.png'.lower()
        samples.append(
            MaskedSample(
                f'class_{number}_{split.lower()}_{stem}',
                name,
                there.get(label),
                int(number) - 1,
                split.lower(),
            )
        )
    return samples


def ellipse_mask(
    major: float, minor: float, rotation: float, x: float, y: float, shape: tuple[int, int]
) -> np.ndarray:
    """Pixels whose centre lies in an ellipse.

    Args:
        major (float): Semi-axis along the rotated x axis, in pixels.
        minor (float): The other one.
        rotation (float): Angle from the x axis towards the y axis, which points down, in radians.
        x (float): Centre in pixels; the centre of the first pixel is 0.
        y (float): The same down the rows.
        shape (tuple[int, int]): Height and width in pixels.

    Returns:
        np.ndarray: (height, width) bool.
    """
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    dx, dy = columns - x, rows - y
    along = dx * math.cos(rotation) + dy * math.sin(rotation)
    across = dy * math.cos(rotation) - dx * math.sin(rotation)
    return (along / major) ** 2 + (across / minor) ** 2 <= 1
