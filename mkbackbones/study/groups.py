"""Groups of images that resemble each other, which statistics resample together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ..datasets.splits import neu_det_split

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
        known = json.loads(file.read_text(encoding='utf-8'))
    else:
        known = neu_det_split()[1]
        if not all(image in known for image in images):
            known = {}
    return {image: str(known.get(image, image)) for image in images}
