"""Groups of images that resemble each other, which statistics resample together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ...datasets.splits import neu_det_split

__all__ = ['groups_of']


def groups_of(data_root: str | Path, images: Iterable[str]) -> dict[str, str]:
    """Group of each image.

    ``groups.json`` in the data set's folder tells (image stem to group). Without it, images of
    NEU-DET are grouped by strip as in the shipped split, and every other image is on its own.

    Args:
        data_root (str | Path): Folder of the data set.
        images (Iterable[str]): Image stems.

    Returns:
        dict[str, str]: Image stem to the name of its group.
    """
    images = list(images)
    file = Path(data_root) / 'groups.json'
    if file.is_file():
        known = read_groups(file)
    else:
        known = neu_det_split()[1]
        if not all(image in known for image in images):
            known = {}
    found = {}
    for image in images:
        # Classification names images class/stem; a file may do so, too, or give the stem alone.
        stem = image.rpartition('/')[2]
        found[image] = str(known.get(image, known.get(stem, image)))
    return found


def read_groups(file: Path) -> dict[str, str]:
    """The groups that a ``groups.json`` holds.

    Raises:
        ValueError: It is malformed.
    """
    try:
        known = json.loads(file.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{file} is no JSON: {error}') from error
    if not isinstance(known, dict) or not all(isinstance(v, str | int) for v in known.values()):
        raise ValueError(f'{file} has to hold an object of image stem to group')
    return known
