"""What the distributions of the two lines are called, and which modules they install."""

from __future__ import annotations

from typing import Literal

__all__ = ['MODULES', 'OWNERS', 'Line']

Line = Literal['original', 'maintained']

#: Names of distributions for each module, the first of a line being the one to install.
OWNERS: dict[str, dict[str, Line]] = {
    'mmengine': {
        'mmengine': 'original',
        'mmengine-lite': 'original',
        'onedl-mmengine': 'maintained',
    },
    'mmcv': {
        'mmcv-lite': 'original',
        'mmcv': 'original',
        'mmcv-full': 'original',
        'onedl-mmcv': 'maintained',
    },
    'mmdet': {'mmdet': 'original', 'onedl-mmdetection': 'maintained'},
    'mmseg': {'mmsegmentation': 'original', 'onedl-mmsegmentation': 'maintained'},
}
MODULES = {name: module for module, owners in OWNERS.items() for name in owners}
