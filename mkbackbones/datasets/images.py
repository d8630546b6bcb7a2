"""Images and masks as they come from cameras and tools, brought to what mmcv reads alike.

The rules: an image is written upright, with 8 bits, grey or RGB. A file that is so already is
copied bit by bit; any other is written anew as PNG, without loss but for

* more than 8 bits a channel: divided by a power of two, the same for every image of the set, so
  that grey levels stay comparable between images;
* alpha: dropped, as OpenCV does.

EXIF orientation: annotations refer to the image as viewers show it, upright, unless the annotation
states a size that only the stored pixels have; the image is then written as stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .. import opencv as cv2
from .errors import DatasetError
from .opening import check_size, faults_told, opened
from .tiff import (
    MINIMUM_IS_WHITE,
    PHOTOMETRIC,
    SAMPLE_BITS,
    read_planes,
    tiff_tags,
    without_orientation,
)

__all__ = ['IMAGE_SUFFIXES', 'LoadedImage', 'encode_png', 'is_image', 'load_image', 'load_mask']

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.tif', '.tiff', '.webp')

# What PIL calls the formats that may be copied, and the suffix that their file gets.
_COPIED = {'JPEG': '.jpg', 'MPO': '.jpg', 'PNG': '.png', 'BMP': '.bmp'}
_ORIENTATION = 0x0112
# Containers whose pages are other pictures; the second picture of an MPO is a preview.
_PAGED = ('TIFF', 'PNG', 'WEBP')


@dataclass
class LoadedImage:
    """A decoded image.

    Args:
        pixels (np.ndarray): (height, width) or (height, width, 3) RGB, uint8.
        content (bytes): The file to write: the original, or a PNG of ``pixels``.
        suffix (str): Suffix that fits ``content``, lower case.
        fixes (list[str]): Why the file was written anew, if it was: ``kind: where``.
    """

    pixels: np.ndarray
    content: bytes
    suffix: str
    fixes: list[str]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.pixels.shape[0]


def is_image(name: str) -> bool:
    """Whether a file name has the suffix of an image, whatever its case."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def load_image(
    content: bytes,
    where: str,
    *,
    size: tuple[int, int] | None = None,
    size_from: str = '',
    bits: int = 16,
) -> LoadedImage:
    """Decode a whole image file.

    Args:
        content (bytes): The file.
        where (str): Its name for messages.
        size (tuple[int, int] | None): Width and height that the annotation states.
        size_from (str): Name of the annotation, for messages.
        bits (int): Used bits a channel of images that store 16: 12 for a 12-bit camera.

    Raises:
        DatasetError: Not an image, a truncated one, one of floating point, one whose values
            exceed ``bits``, one whose size is not the stated one, or one of more megapixels than
            the environment's ``MKBACKBONES_MAX_MEGAPIXELS`` (512) allows.
    """
    fixes = []
    with faults_told(where):
        content, turn = without_orientation(content)
        try:
            with opened(content, where) as image:
                pages = _pages(image)
                image.load()
                suffix = _COPIED.get(image.format or '')
                turn = image.getexif().get(_ORIENTATION, 1) if turn == 1 else turn
                pixels, reason = _to_eight_bits(image, content, where, bits)
            del image  # as large as the pixels
            if pages > 1:
                fixes.append(f'first page of {pages} taken: {where}')
        except UnidentifiedImageError as error:
            deep = _decode_deep(content, where)
            if deep is None:
                raise DatasetError(f'{where}: corrupt image file (not an image)') from error
            suffix = None
            pixels, reason = _scale(deep, where, bits), 'deep colour image reduced to 8 bits'
    if turn in range(2, 9):
        pixels, reason = _turn(pixels, turn, size)
    if size is not None and size != pixels.shape[1::-1]:
        raise DatasetError(
            f'{size_from or "annotation"}: says {size[0]}x{size[1]} pixels, but {where} has '
            f'{pixels.shape[1]}x{pixels.shape[0]}'
        )
    if reason is None and suffix is None:
        reason = 'image format written as PNG'
    if reason is None and suffix is not None:
        if _is_read_alike(content, pixels, suffix, where):
            return LoadedImage(pixels, content, suffix, fixes)
        reason = 'image that OpenCV reads differently written as PNG'
    return LoadedImage(pixels, encode_png(pixels), '.png', [*fixes, f'{reason}: {where}'])


def load_mask(content: bytes, where: str, *, colours: bool = False) -> np.ndarray:
    """Decode a mask: the stored number of each pixel.

    Args:
        content (bytes): The file.
        where (str): Its name for messages.
        colours (bool): Give the colours of a palette image, not their numbers.

    Returns:
        np.ndarray: (height, width) uint8 or uint16: the index in a palette image, the grey value
        in others, 0 and 1 in a bilevel one. Colour images whose channels agree are grey images;
        of others (height, width, 3) RGB is given. Alpha is dropped. Not turned by EXIF.

    Raises:
        DatasetError: Not an image, a truncated one, one of floating point, one of several pages,
            one with content in its alpha channel alone, or a larger one than :func:`load_image`
            takes.
    """
    with faults_told(where):
        content, _ = without_orientation(content)
        try:
            with opened(content, where) as image:
                pages = _pages(image)
                if pages > 1:
                    raise DatasetError(
                        f'{where}: a mask of {pages} pages, of which only one would count: save '
                        'one page a file'
                    )
                image.load()
                if colours and image.mode in ('P', 'PA'):
                    pixels = np.asarray(image.convert('RGBA').convert('RGB'))
                else:
                    pixels = _stored_values(image, content, where)
                _check_alpha(image, pixels, where)
        except UnidentifiedImageError as error:
            raise DatasetError(f'{where}: corrupt image file (not an image)') from error
    if pixels.ndim == 3 and (pixels == pixels[:, :, :1]).all():
        return pixels[:, :, 0]
    return pixels


def _check_alpha(image: Image.Image, pixels: np.ndarray, where: str) -> None:
    """Refuse a mask that is drawn in its alpha channel alone: it would be empty."""
    if 'A' not in image.getbands() or (pixels != pixels[:1, :1]).any():
        return
    low, high = image.getchannel('A').getextrema()
    if low != high:
        raise DatasetError(
            f'{where}: a mask of one colour whose alpha channel alone has content, and alpha is '
            'not read: save it as grey values'
        )


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG of (height, width) or (height, width, 3) RGB uint8 pixels."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return cv2.imencode('.png', pixels)[1].tobytes()


def _is_read_alike(content: bytes, pixels: np.ndarray, suffix: str, where: str) -> bool:
    """Whether OpenCV, with which training reads, sees the same pixels in a file.

    Raises:
        DatasetError: It cannot read the file.
    """
    kind = cv2.IMREAD_GRAYSCALE if pixels.ndim == 2 else cv2.IMREAD_COLOR
    with faults_told(where):
        seen = cv2.imdecode(np.frombuffer(content, np.uint8), kind | cv2.IMREAD_IGNORE_ORIENTATION)
    if seen is None:
        raise DatasetError(f'{where}: corrupt image file (OpenCV cannot read it)')
    if suffix == '.jpg':  # decoders of JPEG round differently
        return seen.shape == pixels.shape
    return np.array_equal(seen if seen.ndim == 2 else seen[:, :, ::-1], pixels)


def _pages(image: Image.Image) -> int:
    return getattr(image, 'n_frames', 1) if image.format in _PAGED else 1


def _stored_values(image: Image.Image, content: bytes, where: str) -> np.ndarray:
    if image.mode == 'F':
        raise DatasetError(f'{where}: a mask of floating point numbers, not of integers')
    if image.mode == '1':
        return np.asarray(image).astype(np.uint8)
    if image.mode in ('P', 'PA'):
        return np.asarray(image.getchannel(0) if image.mode == 'PA' else image)
    if image.mode.startswith('I'):
        return _checked_deep(np.asarray(image), where)
    if _is_deep_colour(image, content):
        return _deep(image, content, where)
    if image.mode != 'L':
        image = image.convert('L' if image.mode == 'LA' else 'RGB')
    return np.asarray(image)


def _to_eight_bits(
    image: Image.Image, content: bytes, where: str, bits: int
) -> tuple[np.ndarray, str | None]:
    """Grey or RGB pixels, and why they are not those of the file."""
    deep_colour = _is_deep_colour(image, content)
    if image.mode in ('L', 'RGB') and not deep_colour:
        return np.asarray(image), None
    if image.mode == 'F':
        raise DatasetError(f'{where}: an image of floating point numbers, not of 8 or 16 bits')
    if image.mode.startswith('I'):
        if image.format == 'TIFF' and _tags_of(image).get(PHOTOMETRIC) == MINIMUM_IS_WHITE:
            raise DatasetError(
                f'{where}: a deep grey image in which 0 is white: save it with 0 as black'
            )
        pixels = _checked_deep(np.asarray(image), where)
        return _scale(pixels, where, bits), f'grey image of {bits} bits reduced to 8'
    if deep_colour:  # PIL keeps the upper byte alone
        return (
            _scale(_deep(image, content, where), where, bits),
            f'colour image of {bits} bits reduced to 8',
        )
    grey = image.mode in ('1', 'LA', 'La') or (image.mode == 'P' and _has_grey_palette(image))
    names = {'P': 'palette', 'RGBA': 'alpha', 'LA': 'alpha', '1': 'bilevel'}
    kind = names.get(image.mode, image.mode)
    if image.mode in ('P', 'PA') and not grey:
        image = image.convert('RGBA')  # a palette may hold transparency; RGB alone warns
    pixels = np.asarray(image.convert('L' if grey else 'RGB'))
    return pixels, f'{kind} image written as {"grey" if grey else "RGB"}'


def _tags_of(image: Any) -> Any:
    """Tags of an opened TIFF."""
    return image.tag_v2


def _is_deep_colour(image: Image.Image, content: bytes) -> bool:
    if image.format == 'TIFF':
        return max(_tags_of(image).get(SAMPLE_BITS, (8,))) == 16
    return image.format == 'PNG' and content[24:25] == b'\x10'


def _has_grey_palette(image: Image.Image) -> bool:
    colours = np.asarray(image.getpalette() or [], np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _deep(image: Image.Image, content: bytes, where: str) -> np.ndarray:
    """Pixels with 16 bits of an image of which PIL gives the upper byte."""
    pixels = _separate_planes(content)
    if pixels is not None:  # PIL scrambles them
        return pixels
    pixels = _decode_deep(content, where)
    upper = np.asarray(image.convert('L' if image.mode in ('L', 'LA') else 'RGB'))
    grey_in_colour = pixels is not None and pixels.ndim == 3 and upper.ndim == 2
    if pixels is None or not np.array_equal(
        (pixels[:, :, 0] if grey_in_colour else pixels) >> 8, upper
    ):
        raise DatasetError(
            f'{where}: a colour image of 16 bits that its decoders read differently: save it '
            'anew, as PNG or with 8 bits'
        )
    return pixels[:, :, 0] if grey_in_colour else pixels


def _decode_deep(content: bytes, where: str) -> np.ndarray | None:
    """Colour pixels with 16 bits, which PIL does not have; None if OpenCV cannot read them."""
    if not content:
        return None
    tags = tiff_tags(content)
    if tags is not None:
        check_size(tags.get(256, 0), tags.get(257, 0), where)
        planes = _separate_planes(content)
        if planes is not None:
            return planes
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        return None
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] not in (3, 4):
        return None
    return np.ascontiguousarray(pixels[:, :, 2::-1])  # BGR[A] to RGB


def _separate_planes(content: bytes) -> np.ndarray | None:
    planes = read_planes(content)
    if planes is None or planes.shape[2] in (1, 2):
        return None if planes is None else planes[:, :, 0]
    return np.ascontiguousarray(planes[:, :, :3])


def _checked_deep(pixels: np.ndarray, where: str) -> np.ndarray:
    if pixels.size and (pixels.min() < 0 or pixels.max() > 65535):
        raise DatasetError(f'{where}: values from {pixels.min()} to {pixels.max()} are no 16 bits')
    return pixels.astype(np.uint16)


def _scale(pixels: np.ndarray, where: str, bits: int) -> np.ndarray:
    if pixels.size and pixels.max() >= 1 << bits:
        raise DatasetError(f'{where}: value {pixels.max()} does not fit in {bits} bits')
    return (pixels >> (bits - 8)).astype(np.uint8)


def _turn(pixels: np.ndarray, turn: int, size: tuple[int, int] | None) -> tuple[np.ndarray, str]:
    stored = pixels.shape[1::-1]
    upright = stored[::-1] if turn >= 5 else stored
    if size == stored != upright:
        return pixels, 'EXIF orientation dropped, since the annotation has the stored size'
    exif = Image.Exif()
    exif[_ORIENTATION] = turn
    image = Image.fromarray(pixels)
    image.info['exif'] = exif.tobytes()
    return np.asarray(ImageOps.exif_transpose(image)), 'image turned upright by its EXIF entry'
