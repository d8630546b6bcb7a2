"""Leak-free splits, shipped as data.

NEU-DET's images are overlapping crops of shared strips. A random split puts one crop of a strip
into training and its neighbour into test; these splits keep every overlap group on one side, and
NEU-DET and NEU-Seg agree on the side of every image.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

__all__ = ['neu_det_split', 'neu_seg_rows']


def _load(name: str) -> Any:
    return json.loads(resources.files(__package__).joinpath(name).read_text(encoding='utf-8'))


def neu_det_split() -> tuple[dict[str, str], dict[str, str]]:
    """Split and overlap group of the 1800 images of NEU-DET.

    Returns:
        tuple[dict[str, str], dict[str, str]]: Image stem to train, val or test; image stem to the
        name of its overlap group.
    """
    content = _load('neu_det_grouped.json')
    return content['split'], content['group']


def neu_seg_rows() -> list[dict[str, str]]:
    """The 899 unrotated masks of NEU-Seg.

    Returns:
        list[dict[str, str]]: Rows with ``official`` (training or test) and ``file``, which
        together name the mask, ``neudet_id`` (the stem of its image in NEU-DET), ``split`` and
        ``group``.
    """
    return _load('neu_seg_clean.json')
