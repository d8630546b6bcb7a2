"""Reading a picture as a prepared data set would have brought it into a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.errors import DatasetError
from ..datasets.images import load_image
from ..datasets.tiff import tiff_tags

__all__ = ['PictureError', 'decode']

_SAMPLES = 277
_MOST_SAMPLES = 4
#: Decoders of it round differently.
_LOSSY = '.jpg'


class PictureError(ValueError):
    """A picture that cannot be used, in one sentence with its name."""


def decode(path: Path, load: Any, bit_depth: int = 16) -> np.ndarray:
    """Pixels of a file: what ``load`` makes of it, once it is what ``prepare-dataset`` writes.

    TIFFs, deep and turned pictures thus look as they did in training; what is JPEG, PNG or BMP of 8
    bits is read as it is.

    Args:
        path (Path): The file.
        load (Any): mmcv's ``LoadImageFromFile`` of a test pipeline.
        bit_depth (int): Used bits a channel of pictures that store 16: 12 for a 12-bit camera.

    Returns:
        np.ndarray: (height, width) or (height, width, channels), BGR.

    Raises:
        PictureError: The file cannot be read.
    """
    import mmcv

    try:
        content = path.read_bytes()
    except OSError as error:
        raise PictureError(f'{path}: {error.strerror or error}') from error
    tags = tiff_tags(content)
    samples = 1 if tags is None else int(tags.get(_SAMPLES, 1))
    if samples > _MOST_SAMPLES:
        raise PictureError(f'{path} has {samples} channels; grey and RGB pictures are read')
    # Any other kind wants what is in the file, alpha included.
    if load.color_type in ('color', 'grayscale'):
        try:
            loaded = load_image(content, str(path), bits=bit_depth)
        except DatasetError as error:
            raise PictureError(str(error)) from error
        if load.color_type == 'color' and loaded.suffix != _LOSSY:  # decoding again gives the same
            return as_loaded(bgr(loaded.pixels), load)
        content = loaded.content
    try:
        pixels = mmcv.imfrombytes(content, flag=load.color_type, backend=load.imdecode_backend)
    except Exception as error:  # decoders raise anything
        raise PictureError(f'{path}: corrupt image file ({error})') from error
    if pixels is None:
        raise PictureError(f'{path}: corrupt image file (it cannot be decoded)')
    return as_loaded(pixels, load)


def bgr(pixels: np.ndarray) -> np.ndarray:
    """(height, width, 3) BGR of grey or RGB pixels."""
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, ::-1])


def as_loaded(pixels: np.ndarray, load: Any) -> np.ndarray:
    """Pixels in the type that a transform gives."""
    return pixels.astype(np.float32) if load.to_float32 else pixels
