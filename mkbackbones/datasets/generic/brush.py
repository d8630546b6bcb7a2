"""Label Studio's brush strokes: the RGBA pixels of an image, packed bit by bit."""

from __future__ import annotations

import numpy as np

from ..errors import DatasetError
from ..windows import Window

__all__ = ['draw_brush']

_CHANNELS = 4


class _Bits:
    """A stream of bits, the highest of a byte first."""

    def __init__(self, content: bytes) -> None:
        self._bits = np.unpackbits(np.frombuffer(content, np.uint8))
        self._at = 0

    def number(self, count: int) -> int:
        return int(self.numbers(count, 1)[0])

    def numbers(self, count: int, several: int) -> np.ndarray:
        """So many numbers of so many bits each."""
        stop = self._at + count * several
        if stop > len(self._bits):
            raise EOFError
        bits = self._bits[self._at : stop].reshape(several, count)
        self._at = stop
        return bits @ (1 << np.arange(count - 1, -1, -1, dtype=np.int64))


def draw_brush(content: bytes, width: int, height: int, where: str) -> Window:
    """Pixels that a brush has touched: those with an alpha above 0.

    A header tells the number of values, their bits, and the bits of four lengths; then come runs
    of one value, and sequences of several, each with the one of the four lengths that it needs.

    Args:
        content (bytes): The packed values.
        width (int): Width of the image in pixels.
        height (int): Height of the image in pixels.
        where (str): Their place, for messages.

    Raises:
        DatasetError: They end too early, or are not those of an image of that size.
    """
    count = width * height * _CHANNELS
    try:
        bits = _Bits(content)
        stated = bits.number(32)
        if stated != count:
            raise DatasetError(
                f'{where}: a brush of {stated // _CHANNELS} pixels in an image of {width}x{height}'
            )
        word = bits.number(5) + 1
        lengths = [bits.number(4) + 1 for _ in range(4)]
        values = np.zeros(count, np.uint8)
        at = 0
        while at < count:
            is_run = bits.number(1)
            length = bits.number(lengths[bits.number(2)]) + 1
            part = bits.numbers(word, 1 if is_run else length)
            values[at : at + length] = (part > 0)[: count - at]
            at += length
    except EOFError:
        raise DatasetError(f'{where}: the packed pixels of a brush end too early') from None
    return Window(values.reshape(height, width, _CHANNELS)[:, :, 3] > 0)
