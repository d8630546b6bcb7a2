"""Sizes of the images that backbones are profiled with."""

from __future__ import annotations

from ..hints import did_you_mean
from .spec import SpecError

#: Images x height x width as used: detection, large-scale jitter, segmentation, classification.
SIZES = {
    'detection': '4x800x1344',
    'lsj': '2x1024x1024',
    'segmentation': '8x512x512',
    'classification': '32x224x224',
}


def parse_size(text: str) -> tuple[int, int, int]:
    """Read images x height x width, or the name of one of ``SIZES``.

    Raises:
        SpecError: If it is neither.
    """
    parts = SIZES.get(text, text).split('x')
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise SpecError(
            f'size {text!r} is not understood; give images x height x width, e.g. 4x800x1344, or '
            f'one of {", ".join(SIZES)}{did_you_mean(text, SIZES)}'
        )
    batch, height, width = map(int, parts)
    return batch, height, width
