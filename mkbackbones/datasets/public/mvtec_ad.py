"""MVTec AD: 15 objects and textures, pixel masks of their anomalies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...hints import did_you_mean
from ..errors import DatasetError
from ..metainfo import ANOMALY
from ..naming import natural_order
from ..sources import Source
from .masked import MaskedSample, MaskedSet

__all__ = ['MvtecAd', 'check_categories']

_IMAGE = re.compile(r'((?:.*/)?([^/]+))/(train|test)/([^/]+)/([^/]+)\.png', re.IGNORECASE)


class MvtecAd(MaskedSet):
    """Records of MVTec AD as supervised segmentation of one class, ``anomaly``.

    The kind of an anomaly (``broken_large``) stays in the file name. The official training split
    has defect-free images only and is no ground for supervised training: use a random or grouped
    split, which deals all images out anew, and say so beside results.

    Args:
        src (str | Path): Folder or zip of ``<category>/{train,test}/<kind>/*.png`` with
            ``<category>/ground_truth/<kind>/*_mask.png``.
        categories (Sequence[str]): Only these; all by default.

    Raises:
        DatasetError: No such source, an unknown layout or category, or missing masks.
    """

    classes: tuple[str, ...] = ANOMALY['classes']

    def __init__(self, src: str | Path, categories: Sequence[str] = ()) -> None:
        source = Source(src, 'MVTec AD')
        found = ((name, _IMAGE.fullmatch(name)) for name in natural_order(source.names))
        images = {name: match.groups() for name, match in found if match}
        if not images:
            raise DatasetError(
                f'{source.path} does not look like MVTec AD: expected '
                '<category>/{train,test}/<kind>/*.png with '
                '<category>/ground_truth/<kind>/*_mask.png'
            )
        check_categories(categories, {row[1] for row in images.values()}, source)
        samples = [
            _sample(name, *row)
            for name, row in images.items()
            if not categories or row[1] in categories
        ]
        source.require((item.mask for item in samples if item.mask), source.names, 'mask')
        super().__init__(
            source, samples, ['the official training split has no defects: see docs/data-sets.md']
        )


def _sample(name: str, root: str, category: str, split: str, kind: str, stem: str) -> MaskedSample:
    mask = None if kind == 'good' else f'{root}/ground_truth/{kind}/{stem}_mask.png'
    return MaskedSample(f'{category}_{split}_{kind}_{stem}', name, mask, split=split.lower())


def check_categories(wanted: Sequence[str], there: set[str], source: Source) -> None:
    """Check a choice of categories.

    Raises:
        DatasetError: One is not in the source.
    """
    for name in wanted:
        if name not in there:
            raise DatasetError(
                f'{source.path} has no category {name!r}, only {", ".join(sorted(there))}'
                f'{did_you_mean(name, there)}'
            )
