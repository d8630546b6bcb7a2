"""Pictures that were decoded before, in the user's cache folder.

All runs of a study on a machine read the same pictures, and a study that was stopped reads them
again. Decoding costs each of them seconds of all its cores; a file of pixels is mapped into memory,
which all processes share.

The price is disk: pixels take a multiple of the files (tiny100: 380 MB instead of 80), up to
:data:`MOST_BYTES`. And trust: pictures are known by their places, sizes and times of change (to
the nanosecond), so one that was changed with all three kept is not seen; and of a kept file its
size and what it says of itself are checked, not its pixels. To begin anew, remove the folder
``$XDG_CACHE_HOME/mkbackbones/pixels``.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL
from PIL import features

from ..caches import cache_folder, is_settled, make_room
from ..cores import usable_cores
from ..files import locked, written_aside

__all__ = ['decoded_once']

#: What is smaller is decoded as fast.
LEAST_BYTES = 16 << 20
#: What the folder may hold, and which share of the free disk.
MOST_BYTES, DISK_SHARE = 8 << 30, 0.1
#: How long to wait for another process that decodes.
WAIT_SECONDS = 120.0
CODECS = ('jpg', 'libjpeg_turbo', 'jpg_2000', 'libtiff', 'webp', 'zlib')

Shape = tuple[int, int, int, int]


def decoded_once(
    paths: Sequence[str], shape: Shape, decode: Callable[[int | None], np.ndarray]
) -> np.ndarray:
    """Pixels of pictures, from the cache folder if they are there; else they are put there.

    Nothing is lost where the folder cannot be written: they are decoded then.

    Args:
        paths (Sequence[str]): The files.
        shape (tuple[int, int, int, int]): Of the pixels: (N, 3, H, W).
        decode (Callable): Returns the pixels; given a number of threads, or None for its own
            choice.

    Returns:
        np.ndarray: uint8 (N, 3, H, W); what is written to it stays in this process.
    """
    if math.prod(shape) < LEAST_BYTES:
        return decode(None)
    try:
        listing, last_change = listed(paths)
        folder = cache_folder() / 'pixels'
        path = folder / f'{listing}.npy'
        known = read(path, shape)
        if known is not None:
            return known
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: no home
        return decode(None)
    with alone(folder.with_suffix('.lock')) as is_alone:
        if not is_alone:
            return decode(None)
        # By now another process may have done it.
        known = read(path, shape)
        if known is not None:
            return known
        # Those that want these pictures wait, so their cores are free.
        pixels = decode(usable_cores())
        with contextlib.suppress(OSError):
            if is_settled(last_change) and listed(paths)[0] == listing:
                keep(path, pixels)
    return pixels


def listed(paths: Sequence[str]) -> tuple[str, float]:
    """What stands for the pixels of files, and when the youngest changed, in seconds since 1970."""
    versions = [PIL.__version__, *(features.version(codec) for codec in CODECS)]
    place = '' if all(map(os.path.isabs, paths)) else os.getcwd()
    digest = hashlib.sha256(repr((place, versions)).encode())
    last_change = 0
    for path in paths:
        about = os.stat(path)
        digest.update(os.fsencode(f'\0{path}\0{about.st_size}\0{about.st_mtime_ns}'))
        last_change = max(last_change, about.st_mtime_ns)
    return digest.hexdigest()[:24], last_change / 1e9


def header(shape: Shape) -> bytes:
    """What a file begins with: that of NumPy's format."""
    with io.BytesIO() as file:
        about = {'descr': '|u1', 'fortran_order': False, 'shape': shape}
        np.lib.format.write_array_header_1_0(file, about)
        return file.getvalue()


def read(path: Path, shape: Shape) -> np.ndarray | None:
    """Pixels of a file, mapped; None where there is none, or it is not what it should be."""
    wanted = header(shape)
    try:
        with open(path, 'rb') as file:
            whole = os.fstat(file.fileno()).st_size == len(wanted) + math.prod(shape)
            if not whole or file.read(len(wanted)) != wanted:
                return None
            with contextlib.suppress(OSError):
                os.utime(path)  # its last use
            return np.memmap(file, np.uint8, 'c', len(wanted), shape)
    except OSError:
        return None


def keep(path: Path, pixels: np.ndarray) -> None:
    """Write pixels whole or not at all, where there is room."""
    for left in path.parent.glob(f'.{path.name}.*.partial'):  # of a process that was killed
        left.unlink(missing_ok=True)
    if make_room(path.parent, pixels.nbytes, MOST_BYTES, DISK_SHARE):
        with written_aside(path) as work, open(work, 'wb') as file:
            file.write(header(pixels.shape))
            file.write(pixels.data)


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[bool]:
    """Hold a lock that ends with the process; yield False where that cannot be done in time."""
    try:
        file = os.open(lock, os.O_CREAT | os.O_RDWR, 0o666)
    except OSError:
        yield False
        return
    try:
        yield taken(file)
    finally:
        os.close(file)


def taken(file: int) -> bool:
    """Wait for the lock of a file; return whether it was taken."""
    try:
        return locked(file, patience=WAIT_SECONDS)
    except OSError:  # a file system without locks
        return False
