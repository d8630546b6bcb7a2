"""KolektorSDD and KolektorSDD2: surfaces of commutators and other parts, masks of one class."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import DatasetError
from ..metainfo import KOLEKTOR
from ..naming import first_few, natural_order
from ..sources import Source
from .masked import MaskedSample, MaskedSet

__all__ = ['KolektorSdd', 'KolektorSdd2']

_PART = re.compile(r'(?:.*/)?(kos\d+)/(Part\d+)\.jpg', re.IGNORECASE)
_NUMBERED = re.compile(r'(?:.*/)?(train|test)/(\d+)\.png', re.IGNORECASE)
_STRAY = re.compile(r'(?:.*/)?(?:train|test)/(?!\d+(?:_GT)?\.png)[^/]+\.png', re.IGNORECASE)


class KolektorSdd(MaskedSet):
    """Records of KolektorSDD: 399 images of 50 commutators, 52 of them with a defect.

    The eight surfaces of one commutator (``kosNN``) are a group. The authors publish three folds
    for cross-validation in a file of their own, but no split of train and test.

    Args:
        src (str | Path): Folder or zip of ``kosNN/PartN.jpg`` with ``kosNN/PartN_label.bmp``.

    Raises:
        DatasetError: No such source, an unknown layout, or missing labels.
    """

    classes: tuple[str, ...] = KOLEKTOR['classes']
    masks_may_be_empty = True

    def __init__(self, src: str | Path) -> None:
        source = Source(src, 'KolektorSDD')
        images = _matches(source, _PART)
        if not images:
            raise DatasetError(
                f'{source.path} does not look like KolektorSDD: expected kosNN/PartN.jpg with '
                'kosNN/PartN_label.bmp'
            )
        labels = {name: f'{name[:-4]}_label.bmp' for name in images}
        source.require(labels.values(), source.names, 'label')
        samples = [
            MaskedSample(f'{part}_{surface}', name, labels[name], group=part)
            for name, (part, surface) in images.items()
        ]
        super().__init__(source, samples)


class KolektorSdd2(MaskedSet):
    """Records of KolektorSDD2: 2,331 images for training (246 with a defect), 1,004 for test (110).

    The archive holds strays, ``10301 (copy).png`` and its label, which are left out.

    Args:
        src (str | Path): Folder or zip of ``{train,test}/NNNNN.png`` with ``NNNNN_GT.png``.

    Raises:
        DatasetError: No such source, an unknown layout, or missing labels.
    """

    classes: tuple[str, ...] = KOLEKTOR['classes']
    masks_may_be_empty = True

    def __init__(self, src: str | Path) -> None:
        source = Source(src, 'KolektorSDD2')
        images = _matches(source, _NUMBERED)
        if not images:
            raise DatasetError(
                f'{source.path} does not look like KolektorSDD2: expected {{train,test}}/NNNNN.png '
                'with NNNNN_GT.png'
            )
        labels = {name: f'{name[:-4]}_GT{name[-4:]}' for name in images}
        source.require(labels.values(), source.names, 'label')
        samples = [
            MaskedSample(stem, name, labels[name], split=split.lower())
            for name, (split, stem) in images.items()
        ]
        strays = [name for name in source.names if _STRAY.fullmatch(name)]
        notes = [f'left out as strays: {first_few(strays)}'] if strays else []
        super().__init__(source, samples, notes)


def _matches(source: Source, pattern: re.Pattern) -> dict[str, tuple[str, ...]]:
    """Names that fit, in natural order, with the groups of the pattern."""
    found = ((name, pattern.fullmatch(name)) for name in natural_order(source.names))
    return {name: match.groups() for name, match in found if match}
