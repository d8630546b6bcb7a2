"""Class names and colours of the data sets, in the form of mmengine's ``metainfo``.

The order is that of the labels written by the converters. Segmentation has the background first.
"""

from __future__ import annotations

from typing import TypedDict

__all__ = [
    'ANOMALY',
    'BSDATA',
    'CRACKFOREST',
    'DAGM',
    'DEEP_PCB',
    'GC10_DET',
    'KOLEKTOR',
    'MAGNETIC_TILE',
    'NEU_DET',
    'NEU_SEG_INSTANCES',
    'NEU_SEG_SEMANTIC',
    'SEVERSTAL',
    'SYNTHETIC_INSTANCES',
    'SYNTHETIC_SEMANTIC',
    'Metainfo',
    'with_background',
]

_RED, _BLUE, _YELLOW, _GREEN = (230, 60, 50), (50, 120, 230), (250, 200, 40), (60, 190, 90)
_VIOLET, _ORANGE, _CYAN, _PINK = (200, 70, 220), (240, 140, 30), (60, 200, 220), (250, 130, 170)
_BROWN, _LIME = (150, 100, 60), (170, 210, 50)


class Metainfo(TypedDict):
    """What a data set calls its classes, and how they are drawn."""

    classes: tuple[str, ...]
    palette: list[tuple[int, int, int]]


def with_background(metainfo: Metainfo) -> Metainfo:
    """The metainfo of class maps, from that of instances: label 0 becomes index 1."""
    return Metainfo(
        classes=('background', *metainfo['classes']),
        palette=[(0, 0, 0), *metainfo['palette']],
    )


SYNTHETIC_INSTANCES = Metainfo(
    classes=('scratch', 'pit', 'inclusion', 'stain', 'patch'),
    palette=[_RED, _YELLOW, _VIOLET, _GREEN, _BLUE],
)
SYNTHETIC_SEMANTIC = with_background(SYNTHETIC_INSTANCES)

NEU_DET = Metainfo(
    classes=(
        'crazing',
        'inclusion',
        'patches',
        'pitted_surface',
        'rolled-in_scale',
        'scratches',
    ),
    palette=[_ORANGE, _VIOLET, _BLUE, _YELLOW, _GREEN, _RED],
)

NEU_SEG_INSTANCES = Metainfo(
    classes=('inclusion', 'patches', 'scratches'),
    palette=[_VIOLET, _BLUE, _RED],
)
NEU_SEG_SEMANTIC = with_background(NEU_SEG_INSTANCES)

GC10_DET = Metainfo(
    classes=(
        'punching_hole',
        'welding_line',
        'crescent_gap',
        'water_spot',
        'oil_spot',
        'silk_spot',
        'inclusion',
        'rolled_pit',
        'crease',
        'waist_folding',
    ),
    palette=[
        _RED,
        _ORANGE,
        _LIME,
        _CYAN,
        _BROWN,
        _PINK,
        _VIOLET,
        _YELLOW,
        _BLUE,
        _GREEN,
    ],
)

DEEP_PCB = Metainfo(
    classes=('open', 'short', 'mousebite', 'spur', 'copper', 'pin-hole'),
    palette=[_RED, _ORANGE, _BLUE, _VIOLET, _YELLOW, _GREEN],
)

MAGNETIC_TILE = Metainfo(
    classes=('blowhole', 'break', 'crack', 'fray', 'uneven'),
    palette=[_YELLOW, _BLUE, _RED, _VIOLET, _GREEN],
)

KOLEKTOR = Metainfo(classes=('defect',), palette=[_RED])
ANOMALY = Metainfo(classes=('anomaly',), palette=[_RED])
BSDATA = Metainfo(classes=('pitting',), palette=[_YELLOW])
CRACKFOREST = Metainfo(classes=('crack',), palette=[_RED])

SEVERSTAL = Metainfo(
    classes=('defect_1', 'defect_2', 'defect_3', 'defect_4'),
    palette=[_YELLOW, _GREEN, _RED, _BLUE],
)

# The defect of each of the ten textures.
DAGM = Metainfo(
    classes=tuple(f'class_{number}' for number in range(1, 11)),
    palette=[_RED, _BLUE, _YELLOW, _GREEN, _VIOLET, _ORANGE, _CYAN, _PINK, _BROWN, _LIME],
)
