"""Class maps whose pictures are gone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .class_names import folders_above
from .naming import first_few

__all__ = ['lost_pictures']


def lost_pictures(dataset: Mapping) -> str | None:
    """Which class maps of a prepared set have no picture, in a sentence; None if all have.

    mmseg lists the pictures of a folder, so that without a word it does with fewer than there were.

    Args:
        dataset (Mapping): Config of one data set, as mmengine builds it. Folders that have no
            ``dataset.json`` above them may hold class maps of other pictures, too.
    """
    prefix = dataset.get('data_prefix')
    if not isinstance(prefix, Mapping) or dataset.get('ann_file') or dataset.get('backend_args'):
        return None
    root = Path(dataset.get('data_root') or '')
    folders = [prefix.get(name) for name in ('img_path', 'seg_map_path')]
    if not all(isinstance(folder, str) for folder in folders):
        return None
    pictures, maps = (root / str(folder) for folder in folders)
    if not any(Path(one, 'dataset.json').is_file() for one in folders_above(os.fspath(maps))):
        return None
    there, wanted = (
        {os.path.splitext(name)[0] for name in os.listdir(folder)} if folder.is_dir() else set()
        for folder in (pictures, maps)
    )
    lost = sorted(wanted - there)
    if not lost:
        return None
    return (
        f'{len(lost)} of {len(wanted)} class maps in {maps} have no picture in {pictures}: '
        f'{first_few(lost)}; put the pictures back, or prepare the set anew without them'
    )
