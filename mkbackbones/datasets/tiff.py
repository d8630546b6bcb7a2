"""What PIL and OpenCV do not tell, or do not do, about TIFF files."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

__all__ = [
    'MINIMUM_IS_WHITE',
    'PHOTOMETRIC',
    'SAMPLE_BITS',
    'read_planes',
    'tiff_tags',
    'without_orientation',
]

SAMPLE_BITS = 258
PHOTOMETRIC = 262
MINIMUM_IS_WHITE = 0
_ORIENTATION = 274
_SAMPLES = 277
_PLANES = 284
_SEPARATE = 2
# Offsets and byte counts of strips, and of tiles: one after the other, plane by plane.
_PARTS = ((273, 279), (324, 325))
# Width, height, compression, fill order, rows in a strip, predictor, tile sides.
_KEPT = (256, 257, 259, 266, 278, 317, 322, 323)


def tiff_tags(content: bytes) -> ImageFileDirectory_v2 | None:
    """Tags of the first page; None where the file is no TIFF that can be read."""
    if content[:4] not in (b'II*\0', b'MM\0*'):
        return None
    try:
        tags = ImageFileDirectory_v2(content[:8])
        stream = io.BytesIO(content)
        stream.seek(tags.next)
        tags.load(stream)
        dict(tags)  # values are decoded when they are read
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return None
    return tags


def without_orientation(content: bytes) -> tuple[bytes, int]:
    """A TIFF whose pixels are read as they are stored, and its orientation.

    PIL turns a TIFF while it loads it, other than a JPEG or a PNG, and OpenCV does not.

    Args:
        content (bytes): A file of any kind.

    Returns:
        tuple[bytes, int]: The file with the orientation 1, and the one it had; any other file as it
        is, and 1.
    """
    tags = tiff_tags(content)
    turn = 1 if tags is None else tags.get(_ORIENTATION, 1)
    if turn == 1:
        return content, 1
    order = '<' if content[:2] == b'II' else '>'
    (start,) = struct.unpack_from(f'{order}L', content, 4)
    (count,) = struct.unpack_from(f'{order}H', content, start)
    changed = bytearray(content)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from(f'{order}H', content, place)[0] == _ORIENTATION:
            struct.pack_into(f'{order}HHLHH', changed, place, _ORIENTATION, 3, 1, 1, 0)
    return bytes(changed), turn


def read_planes(content: bytes) -> np.ndarray | None:
    """Samples of a TIFF that stores each channel as a plane of its own, of 16 bits each.

    OpenCV scrambles such files and PIL keeps the upper byte alone; as a grey image, PIL reads each
    plane right.

    Args:
        content (bytes): The file.

    Returns:
        np.ndarray | None: (height, width, channels) uint16; None for any other file.
    """
    tags = tiff_tags(content)
    if tags is None or tags.get(_PLANES) != _SEPARATE or set(tags.get(SAMPLE_BITS, ())) != {16}:
        return None
    channels = tags.get(_SAMPLES, 1)
    offsets_tag, counts_tag = next(pair for pair in _PARTS if pair[0] in tags)
    offsets, counts = tags[offsets_tag], tags[counts_tag]
    part = len(offsets) // channels
    if part * channels != len(offsets) or len(counts) != len(offsets) or not part:
        raise ValueError('planes of different numbers of strips')
    planes = []
    for channel in range(channels):
        own = slice(channel * part, (channel + 1) * part)
        plane: dict[int, tuple] = {tag: (tags[tag],) for tag in _KEPT if tag in tags}
        plane |= {SAMPLE_BITS: (16,), PHOTOMETRIC: (1,), _SAMPLES: (1,)}
        plane |= {offsets_tag: offsets[own], counts_tag: counts[own]}
        with Image.open(io.BytesIO(_with_directory(content, plane))) as image:
            planes.append(np.asarray(image).astype(np.uint16))
    return np.stack(planes, axis=2)


def _with_directory(content: bytes, tags: dict[int, tuple[int, ...]]) -> bytes:
    """The same data under another directory, which is put behind it."""
    order = '<' if content[:2] == b'II' else '>'
    head = len(content) + len(content) % 2
    behind = head + 2 + 12 * len(tags) + 4
    entries, long = b'', b''
    for tag, values in sorted(tags.items()):
        short = len(values) == 1 and values[0] < 1 << 16 and tag not in sum(_PARTS, ())
        packed = struct.pack(f'{order}{len(values)}{"H" if short else "L"}', *values)
        if len(packed) > 4:
            place, long = struct.pack(f'{order}L', behind + len(long)), long + packed
        else:
            place = packed.ljust(4, b'\0')
        entries += struct.pack(f'{order}HHL', tag, 3 if short else 4, len(values)) + place
    directory = struct.pack(f'{order}H', len(tags)) + entries + bytes(4) + long
    start = content[:4] + struct.pack(f'{order}L', head)
    return start + content[8:].ljust(head - 8, b'\0') + directory
