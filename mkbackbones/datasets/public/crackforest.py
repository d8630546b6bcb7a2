"""CrackForest (CFD): 118 photographs of road surfaces with cracks, masks in MATLAB files."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from ..errors import DatasetError
from ..metainfo import CRACKFOREST
from ..naming import first_few, stem_of
from ..sources import Source
from .masked import MaskedSample, MaskedSet

__all__ = ['CrackForest']

_IMAGE = re.compile(r'(?:.*/)?image/([^/]+)\.jpg', re.IGNORECASE)
_TRUTH = re.compile(r'(?:.*/)?groundTruth/([^/]+)\.mat', re.IGNORECASE)
_CRACK_VALUES = (2, 4)


class CrackForest(MaskedSet):
    """Records of CrackForest, without an official split.

    ``Segmentation`` holds 1 for the ground, 2 for cracks, 3 for ground that cracks enclose and 4
    for fainter cracks; 2 and 4 are crack here. The repository's 37 images without ground truth are
    left out: most show cracks.

    Args:
        src (str | Path): Folder or zip of ``image/*.jpg`` with ``groundTruth/*.mat``.

    Raises:
        DatasetError: No such source, an unknown layout, or missing images.
    """

    classes: tuple[str, ...] = CRACKFOREST['classes']

    def __init__(self, src: str | Path) -> None:
        source = Source(src, 'CrackForest')
        truths = {stem_of(name): name for name in source.names if _TRUTH.fullmatch(name)}
        images = {stem_of(name): name for name in source.names if _IMAGE.fullmatch(name)}
        if not truths:
            raise DatasetError(
                f'{source.path} does not look like CrackForest: expected image/*.jpg with '
                'groundTruth/*.mat'
            )
        source.require(
            (f'image/{stem}.jpg' for stem in truths),
            (f'image/{stem}.jpg' for stem in images),
            'image',
        )
        samples = [MaskedSample(stem, images[stem], name) for stem, name in truths.items()]
        bare = [stem for stem in images if stem not in truths]
        notes = [f'left out, without ground truth: {first_few(bare)}'] if bare else []
        super().__init__(source, samples, notes)

    def _defect(self, sample: MaskedSample, mask: str, shape: tuple[int, int]) -> np.ndarray:
        where = self._source.where(mask)
        content = self._source.read(mask)
        try:
            values = loadmat(io.BytesIO(content))['groundTruth'][0, 0]['Segmentation']
        # scipy raises whatever a damaged file makes of its parser.
        except Exception as error:
            raise DatasetError(
                f'{where}: no MATLAB file with groundTruth.Segmentation ({error})'
            ) from error
        if values.shape != shape:
            raise DatasetError(
                f'{where}: Segmentation has the shape {values.shape}, its image {shape}'
            )
        return np.isin(values, _CRACK_VALUES)
