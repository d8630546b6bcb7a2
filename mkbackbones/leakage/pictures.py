"""Which pictures to compare, the split of each, and their grey values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.errors import DatasetError
from ..datasets.images import IMAGE_SUFFIXES, is_image, load_image
from ..datasets.naming import folder_split, unique_stems
from ..datasets.records import SPLITS
from ..datasets.sources import check_name, walk_files

__all__ = ['Picture', 'Pixels', 'find_pictures', 'read_pixels']


@dataclass(frozen=True)
class Picture:
    """One picture of the set.

    Args:
        path (Path): Where it lies.
        key (str): Its name in ``groups.json``: the file's stem, or, where two pictures share it,
            the stem with the folders before it.
        split (str | None): 'train', 'val' or 'test' if known.
    """

    path: Path
    key: str
    split: str | None


@dataclass(frozen=True)
class Pixels:
    """What is kept of a picture's content.

    Args:
        grey (np.ndarray): (height, width) uint8, upright.
        file_digest (str): Of the file.
        digest (str): Of the decoded pixels.
    """

    grey: np.ndarray
    file_digest: str
    digest: str


def find_pictures(root: Path, splits: Mapping[str, str] | None = None) -> list[Picture]:
    """Find the pictures of a prepared data set, or all of any other folder.

    A prepared set has its pictures below ``images``; masks beside it are not looked at. The split
    is what ``splits`` says, else the name of a folder on the way, else the COCO file in
    ``annotations`` that lists the picture.

    Args:
        root (Path): The folder.
        splits (Mapping[str, str] | None): File stem to split, for a split that is only planned.

    Raises:
        DatasetError: No such folder, one that cannot be read, a link that leads nowhere or in a
            circle, a name that is not UTF-8, fewer than two pictures, a malformed COCO file, or
            ``splits`` that name none of the pictures or no known split.
    """
    if not root.is_dir():
        raise DatasetError(f'{root} is no folder: give a prepared data set or a picture folder')
    below = root / 'images' if (root / 'images').is_dir() else root
    paths = sorted(path for path in walk_files(below) if _is_picture(path))
    if len(paths) < 2:
        raise DatasetError(
            f'{below} holds {len(paths)} pictures ({", ".join(IMAGE_SUFFIXES)}), not 2 or more'
        )
    names = [path.relative_to(below).as_posix() for path in paths]
    for name in names:
        check_name(name, below)
    keys = unique_stems(names)
    if splits is not None:
        _check_splits(splits, keys)
        known = [splits.get(key) for key in keys]
    else:
        listed = _listed_splits(root)
        known = [folder_split(name) or listed.get(Path(name).name) for name in names]
    return [Picture(*item) for item in zip(paths, keys, known)]


def _is_picture(path: Path) -> bool:
    return is_image(path.name) and not path.name.startswith('.')


def _check_splits(splits: Mapping[str, str], keys: list[str]) -> None:
    wrong = next((item for item in splits.items() if item[1] not in SPLITS), None)
    if wrong is not None:
        raise DatasetError(f'{wrong[0]}: split {wrong[1]!r} is none of {", ".join(SPLITS)}')
    if not splits.keys() & set(keys):
        example = next(iter(splits), 'nothing')
        raise DatasetError(f'the splits name none of the pictures: {example!r} is not {keys[0]!r}')


def _listed_splits(root: Path) -> dict[str, str]:
    """File name to split, from ``annotations/{train,val,test}.json``."""
    found = {}
    for split in SPLITS:
        path = root / 'annotations' / f'{split}.json'
        if not path.is_file():
            continue
        try:
            images = json.loads(path.read_text(encoding='utf-8'))['images']
            found.update({Path(image['file_name']).name: split for image in images})
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f'{path}: not a COCO file ({error!r})') from error
    return found


def read_pixels(path: Path) -> Pixels:
    """Read a picture.

    Raises:
        DatasetError: The file cannot be read or is not a whole picture.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f'{path}: {error.strerror}') from error
    pixels = load_image(content, str(path)).pixels
    if pixels.ndim == 3 and is_grey(pixels):
        pixels = pixels[:, :, 0]  # a grey picture saved as RGB is the same picture
    digest = hashlib.sha256(f'{pixels.shape}'.encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return Pixels(to_grey(pixels), hashlib.sha256(content).hexdigest(), digest.hexdigest())


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """Grey values (height, width) uint8 of a picture, some rows at a time to save memory."""
    if pixels.ndim == 2:
        return pixels.astype(np.uint8)
    grey = np.empty(pixels.shape[:2], np.uint8)
    for start in range(0, len(grey), 256):
        rows = slice(start, start + 256)
        grey[rows] = pixels[rows] @ np.array([0.299, 0.587, 0.114])
    return grey


def is_grey(pixels: np.ndarray) -> bool:
    """Whether the channels (height, width, channels) are equal."""
    return all(
        np.array_equal(pixels[..., 0], pixels[..., channel])
        for channel in range(1, pixels.shape[2])
    )
