"""The evenly lit pictures: what is kept of them, and what is made again when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from ..cores import usable_cores
from .level import Level
from .pictures import Picture, read_pixels
from .pieces import Piece, cut, halvings
from .tiles import even_light, shrink, whiten

__all__ = ['COARSE', 'FULL', 'MIDDLE', 'Surfaces']

#: Side in pixels, pass band and least score of the three levels. Scores of pictures without common
#: content do not depend on the texture, so these numbers hold for any set; docs/leakage.md shows
#: the gap that they lie in.
COARSE = (34, 0.35, 5.8)
MIDDLE = (100, 0.2, 12.0)
FULL = (256, 0.15, 20.0)
#: Pieces of all pictures: so many, and so many more a picture. Memory and time follow from them.
PIECES = 2000
PIECES_A_PICTURE = 1
#: Tiles of the last level that are kept, half a megabyte each at most.
KEPT = 512
#: Evenly lit whole pictures that are kept.
LIT = 64


@dataclass(frozen=True)
class Kept:
    """What is kept of a picture.

    Args:
        grey (np.ndarray): (height, width), at the last level; float16 where it was scaled.
        size (int): Pixels of the picture itself.
        file_digest (str): Of the file.
        digest (str): Of the decoded pixels.
    """

    grey: np.ndarray
    size: int
    file_digest: str
    digest: str


class Surfaces:
    """Pictures at the resolution of the last level, in pieces.

    Of a picture stay its grey values at that resolution and its tiles of the first two levels:
    about 230 kilobytes for a piece, whatever the size of the file.

    Args:
        pictures (Sequence[Picture]): The pictures.
        report (Callable): Called as ``report(step, done, total)``.

    Attributes:
        pieces (list[Piece]): All pieces, those of one shape in a row.
        halved (list[int]): How often each picture was halved, beyond the common scale.
        scale (float): The common scale. Crops of one strip share it, whatever their size.

    Raises:
        DatasetError: A picture cannot be read.
    """

    def __init__(
        self, pictures: Sequence[Picture], report: Callable[[str, int, int], None]
    ) -> None:
        shapes = [picture_shape(picture) for picture in pictures]
        side = math.sqrt(np.median([height * width for height, width in shapes]))
        self.scale = min(FULL[0] / side, 1)
        self.side = side * self.scale
        budget = PIECES + PIECES_A_PICTURE * len(pictures)
        scaled = [(height * self.scale, width * self.scale) for height, width in shapes]
        self.halved, _ = halvings(scaled, self.side, budget)
        self.kept: list[Kept] = []
        pieces: list[Piece] = []
        tiles: list[tuple[np.ndarray, np.ndarray]] = []
        with ThreadPoolExecutor(usable_cores()) as pool:
            read = pool.map(self._read, range(len(pictures)), pictures)
            for number, (kept, its_pieces, its_tiles) in enumerate(read, start=1):
                self.kept.append(kept)
                pieces += its_pieces
                tiles += its_tiles
                report('reading', number, len(pictures))
        # Those of one shape in a row, see `propose`.
        order = sorted(range(len(pieces)), key=lambda i: tiles[i][0].shape)
        self.pieces = [pieces[i] for i in order]
        self._coarse = [tiles[i][0] for i in order]
        self._middle = [tiles[i][1] for i in order]
        self._full = lru_cache(KEPT)(self._full_tile)
        # Hits come by their first picture: it is at hand for all its partners.
        self.lit = lru_cache(LIT)(self._lit)

    def _read(
        self, index: int, picture: Picture
    ) -> tuple[Kept, list[Piece], list[tuple[np.ndarray, np.ndarray]]]:
        pixels = read_pixels(picture.path)
        scale = self.scale / 2 ** self.halved[index]
        grey = pixels.grey
        if scale < 1:
            grey = shrink(grey.astype(np.float32), scale).astype(np.float16)
        pieces = cut(index, grey.shape, self.side)
        tiles = [self._first_tiles(even_light(part(grey, piece))) for piece in pieces]
        kept = Kept(grey, pixels.grey.size, pixels.file_digest, pixels.digest)
        return kept, pieces, tiles

    def _first_tiles(self, lit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        coarse, middle = (
            whiten(shrink(lit, side / self.side), band) for side, band, _ in (COARSE, MIDDLE)
        )
        return coarse, middle.astype(np.float16)

    def grey(self, picture: int) -> np.ndarray:
        """Grey values of a whole picture, float32."""
        return self.kept[picture].grey.astype(np.float32)

    def _lit(self, picture: int) -> np.ndarray:
        """A whole picture, evenly lit."""
        return even_light(self.grey(picture))

    def _full_tile(self, index: int) -> np.ndarray:
        piece = self.pieces[index]
        lit = even_light(part(self.kept[piece.picture].grey, piece))
        return whiten(shrink(lit, FULL[0] / self.side), FULL[1])

    def coarse(self) -> Level:
        """The first level."""
        return Level(self._coarse, longest(self._coarse))

    def middle(self) -> Level:
        """The second level."""
        return Level(self._middle, longest(self._middle))

    def full(self) -> Level:
        """The last level; its tiles are made when they are asked for."""
        sides = [max(piece.shape) for piece in self.pieces]
        return Level(Lazy(self._full, len(self.pieces)), max(sides))


class Lazy:
    """A sequence whose items are made at each access."""

    def __init__(self, make: Callable[[int], np.ndarray], length: int) -> None:
        self.make, self.length = make, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> np.ndarray:
        return self.make(index)

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.make, range(self.length))


def part(grey: np.ndarray, piece: Piece) -> np.ndarray:
    """The piece of a picture, float32."""
    (y, x), (height, width) = piece.origin, piece.shape
    return grey[y : y + height, x : x + width].astype(np.float32)


def longest(tiles: Sequence[np.ndarray]) -> int:
    """The largest side of tiles."""
    return max(max(tile.shape) for tile in tiles)


def picture_shape(picture: Picture) -> tuple[int, int]:
    """Height and width as the file's head says them; decoding tells what is wrong with it."""
    try:
        with Image.open(picture.path) as image:
            width, height = image.size
    except Exception:  # Pillow raises many kinds; a format of its own is read in full below
        height, width = read_pixels(picture.path).grey.shape
    return height, width
