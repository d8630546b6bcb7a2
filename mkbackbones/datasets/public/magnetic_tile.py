"""Magnetic tile defects (MT): 1,344 photographs of magnetic tiles, five kinds of defect, masks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mkbackbones.datasets.metainfo import MAGNETIC_TILE
from mkbackbones.datasets.public.masked import MaskedSample, MaskedSet
from mkbackbones.datasets.records import DatasetError
from mkbackbones.datasets.sources import Source

__all__ = ['MagneticTile', 'capture_groups']

_IMAGE = re.compile(r'(?:.*/)?MT_([A-Za-z]+)/Imgs/([^/]+)\.jpg', re.IGNORECASE)
_STEM = re.compile(r'exp(\d+)_num_(\d+)')
_FOLDERS = ('blowhole', 'break', 'crack', 'fray', 'uneven', 'free')
_SERIES_GAP = 400


class MagneticTile(MaskedSet):
    """Records of Magnetic tile, without an official split.

    A tile was photographed under up to six exposures in a row; ``num`` counts the photographs.
    Images whose numbers follow each other by at most 400 form a group, whatever their class: all
    but two series of six exposures lie within such a run. Neighbouring tiles share a group where
    their photographs lie that near, which costs nothing but finer groups.

    Masks are grey at the edge of a defect, as JPEG leaves them: above 127 is defect.

    Args:
        src (str | Path): Folder or zip that holds ``MT_*/Imgs/*.jpg``, each with a ``.png``.

    Raises:
        DatasetError: No such source, an unknown layout, or missing masks.
    """

    classes: tuple[str, ...] = MAGNETIC_TILE['classes']
    threshold = 127

    def __init__(self, src: str | Path) -> None:
        source = Source(src, 'Magnetic tile')
        images = {name: match for name in source.names if (match := _IMAGE.fullmatch(name))}
        if not images:
            raise DatasetError(
                f'{source.path} does not look like Magnetic tile: expected '
                'MT_{Blowhole,Break,Crack,Fray,Free,Uneven}/Imgs/*.jpg, each with a .png'
            )
        masks = {name[:-4]: name for name in source.names if name.lower().endswith('.png')}
        source.require(
            (f'{name[:-4]}.png' for name in images), (f'{key}.png' for key in masks), 'mask'
        )
        groups = capture_groups(match.group(2) for match in images.values())
        samples = []
        for name, match in images.items():
            folder, stem = match.group(1).lower(), match.group(2)
            if folder not in _FOLDERS:
                raise DatasetError(
                    f'{source.where(name)}: unknown folder MT_{match.group(1)}, expected MT_ '
                    f'followed by one of {", ".join(_FOLDERS)}'
                )
            free = folder == 'free'
            samples.append(
                MaskedSample(
                    f'{folder}_{stem}',
                    name,
                    None if free else masks[name[:-4]],
                    0 if free else self.classes.index(folder),
                    group=groups[stem],
                )
            )
        super().__init__(source, samples)


def capture_groups(stems: Iterable[str]) -> dict[str, str]:
    """Group of each ``exp<E>_num_<N>``: runs of numbers that follow each other closely."""
    numbered = []
    for stem in stems:
        match = _STEM.fullmatch(stem)
        if match is None:
            raise DatasetError(f'Magnetic tile: {stem} is not named exp<E>_num_<N>')
        numbered.append((int(match.group(2)), stem))
    groups, start, previous = {}, None, None
    for number, stem in sorted(numbered):
        if previous is None or number - previous > _SERIES_GAP:
            start = number
        groups[stem], previous = f'capture_{start}', number
    return groups
