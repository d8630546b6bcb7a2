"""Magnetic tile defects (MT): 1,344 photographs of magnetic tiles, five kinds of defect, masks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..errors import DatasetError
from ..metainfo import MAGNETIC_TILE
from ..sources import Source
from .masked import MaskedSample, MaskedSet

__all__ = ['MagneticTile', 'capture_groups']

_IMAGE = re.compile(r'(?:.*/)?MT_([A-Za-z]+)/Imgs/([^/]+)\.jpg', re.IGNORECASE)
_STEM = re.compile(r'exp(\d+)_num_(\d+)')
_FOLDERS = ('blowhole', 'break', 'crack', 'fray', 'uneven', 'free')
_GAP, _SERIES_GAP = 400, 1500


class MagneticTile(MaskedSet):
    """Records of Magnetic tile, without an official split.

    A tile was photographed under up to six exposures in a row; ``num`` counts the photographs.
    Images whose numbers follow each other by at most 400 form a group, whatever their class, and
    so do two of one class by at most 1,500 where the exposure goes on by one: this keeps every
    series together. Neighbouring tiles share a group where their photographs lie that near, which
    costs nothing but finer groups.

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
        captured = {name: (match[1], match[2]) for name, match in images.items()}
        groups = capture_groups(captured.values())
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
                    group=groups[captured[name]],
                )
            )
        super().__init__(source, samples)


def capture_groups(images: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Group of each image, from the order in which the photographs were taken.

    Args:
        images (Iterable[tuple[str, str]]): Folder and stem, ``exp<E>_num_<N>``.

    Raises:
        DatasetError: A stem of another form.
    """
    shots = []
    for folder, stem in images:
        match = _STEM.fullmatch(stem)
        if match is None:
            raise DatasetError(f'Magnetic tile: {stem} is not named exp<E>_num_<N>')
        shots.append((int(match.group(2)), int(match.group(1)), folder, stem))
    shots.sort()
    ends = np.array(_links(shots), int).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), tuple(ends.T)), shape=(len(shots), len(shots)))
    labels = connected_components(graph, directed=False)[1]
    first: dict[int, int] = {}
    for label, (number, *_) in zip(labels.tolist(), shots):
        first.setdefault(label, number)
    return {
        (folder, stem): f'capture_{first[label]}'
        for label, (_, _, folder, stem) in zip(labels.tolist(), shots)
    }


def _links(shots: list[tuple[int, int, str, str]]) -> list[tuple[int, int]]:
    """Pairs of indices that belong together, of shots in order: number, exposure, folder, stem."""
    links = []
    latest: dict[str, int] = {}
    for index, (number, exposure, folder, _) in enumerate(shots):
        if index and number - shots[index - 1][0] <= _GAP:
            links.append((index - 1, index))
        before = latest.get(folder)
        if before is not None:
            goes_on = exposure == shots[before][1] + 1
            if goes_on and number - shots[before][0] <= _SERIES_GAP:
                links.append((before, index))
        latest[folder] = index
    return links
