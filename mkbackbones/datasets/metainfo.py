"""Class names and colours of the data sets, in the form of mmengine's ``metainfo``.

The order is that of the labels written by the converters. Segmentation has the background first.
"""

from __future__ import annotations

__all__ = [
    'NEU_DET',
    'NEU_SEG_INSTANCES',
    'NEU_SEG_SEMANTIC',
    'SYNTHETIC_INSTANCES',
    'SYNTHETIC_SEMANTIC',
]


def _with_background(metainfo: dict) -> dict:
    return dict(
        classes=('background', *metainfo['classes']),
        palette=[(0, 0, 0), *metainfo['palette']],
    )


SYNTHETIC_INSTANCES = dict(
    classes=('scratch', 'pit', 'inclusion', 'stain', 'patch'),
    palette=[(230, 60, 50), (250, 200, 40), (200, 70, 220), (60, 190, 90), (50, 120, 230)],
)
SYNTHETIC_SEMANTIC = _with_background(SYNTHETIC_INSTANCES)

NEU_DET = dict(
    classes=(
        'crazing',
        'inclusion',
        'patches',
        'pitted_surface',
        'rolled-in_scale',
        'scratches',
    ),
    palette=[
        (240, 140, 30),
        (200, 70, 220),
        (50, 120, 230),
        (250, 200, 40),
        (60, 190, 90),
        (230, 60, 50),
    ],
)

NEU_SEG_INSTANCES = dict(
    classes=('inclusion', 'patches', 'scratches'),
    palette=[(200, 70, 220), (50, 120, 230), (230, 60, 50)],
)
NEU_SEG_SEMANTIC = _with_background(NEU_SEG_INSTANCES)
