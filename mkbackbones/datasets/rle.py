"""COCO's run lengths, checked before they are drawn: pycocotools trusts them."""

from __future__ import annotations

import numpy as np

from .errors import DatasetError

__all__ = ['run_lengths']


def run_lengths(counts: object, shape: tuple[int, int], where: str) -> np.ndarray:
    """Run lengths as numbers.

    Args:
        counts (object): A list of numbers, or the compressed text.
        shape (tuple[int, int]): Height and width of the image in pixels.
        where (str): Their place, for messages.

    Returns:
        np.ndarray: (n,) int64, not negative; they add up to the image.

    Raises:
        DatasetError: Something else.
    """
    if isinstance(counts, str | bytes):
        runs = _uncompressed(counts, where)
    elif isinstance(counts, list) and all(type(run) is int for run in counts):
        runs = counts
    else:
        raise DatasetError(f'{where}: malformed segmentation (counts are neither text nor numbers)')
    if any(run < 0 for run in runs):
        raise DatasetError(f'{where}: a run length is negative')
    if sum(runs) != shape[0] * shape[1]:
        raise DatasetError(
            f'{where}: run lengths do not add up to the image: {sum(runs)} pixels, the image has '
            f'{shape[0] * shape[1]}'
        )
    return np.array(runs, np.int64)


def _uncompressed(text: str | bytes, where: str) -> list[int]:
    """Undo the compression: five bits a character, lowest first; from the fourth run on it is
    the difference to the run before the last."""
    content = text.encode('utf-8') if isinstance(text, str) else text
    runs: list[int] = []
    value = shift = 0
    for byte in content:
        part = byte - 48
        if not 0 <= part < 64 or shift > 60:
            raise DatasetError(f'{where}: malformed segmentation (no compressed run lengths)')
        value |= (part & 31) << shift
        shift += 5
        if part & 32:
            continue
        if part & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise DatasetError(f'{where}: malformed segmentation (run lengths end in the middle)')
    return runs
