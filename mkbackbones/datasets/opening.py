"""Opening image files of any origin: of a bounded size, and with one kind of error."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
from collections.abc import Iterator

from PIL import Image

from .. import opencv as cv2
from .errors import DatasetError

__all__ = ['check_size', 'faults_told', 'opened']

_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)
_LIMIT_VARIABLE = 'MKBACKBONES_MAX_MEGAPIXELS'
_LIMIT = 512
"""Megapixels from which on an image is refused: a file of some kilobytes may claim any size."""


@contextlib.contextmanager
def faults_told(where: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a DatasetError.

    Args:
        where (str): The file, for the message.

    Raises:
        DatasetError: The block has raised what decoders do.
    """
    try:
        yield
    except DatasetError:
        raise
    except (*_ERRORS, cv2.error) as error:
        raise DatasetError(
            f'{where}: corrupt image file ({str(error) or type(error).__name__})'
        ) from error


class _OwnLimit:
    """While images are opened here, the limit of this module stands for that of PIL.

    PIL's is a variable of the process, below what line-scan cameras deliver; it is put back when
    the last thread leaves.
    """

    def __init__(self) -> None:
        self._lock, self._depth = threading.Lock(), 0
        self._former: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._former, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._depth += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                Image.MAX_IMAGE_PIXELS = self._former


_own_limit = _OwnLimit()


@contextlib.contextmanager
def opened(content: bytes, where: str) -> Iterator[Image.Image]:
    """Open an image that is not decoded yet.

    Args:
        content (bytes): The file.
        where (str): Its name, for messages.

    Raises:
        DatasetError: More pixels than :func:`check_size` allows.
    """
    with _own_limit, Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        check_size(width, height, where)
        yield image


def check_size(width: int, height: int, where: str) -> None:
    """Refuse an image of more pixels than the environment allows.

    Args:
        width (int): In pixels.
        height (int): In pixels.
        where (str): The file, for messages.

    Raises:
        DatasetError: Too many pixels, or a limit that is no number.
    """
    try:
        limit = float(os.environ.get(_LIMIT_VARIABLE) or _LIMIT)
    except ValueError:
        raise DatasetError(
            f'{_LIMIT_VARIABLE} is {os.environ[_LIMIT_VARIABLE]!r}, not a number'
        ) from None
    if width * height > limit * 1e6:
        raise DatasetError(
            f'{where}: {width}x{height} pixels are {width * height / 1e6:.0f} megapixels, more '
            f'than {limit:g}; if the file is sound, set {_LIMIT_VARIABLE} to allow more'
        )
