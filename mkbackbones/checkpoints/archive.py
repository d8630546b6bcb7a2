"""Read what ``torch.save`` writes, new (ZIP) and old, as data; within the size of the file."""

from __future__ import annotations

import math
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, BinaryIO

import torch
from torch import Tensor

from .pickle_makers import FlatStorage, storage_dtype
from .pickles import read_pickle

__all__ = ['ArchiveError', 'read_archive']

#: A file may unpack to this many times its size, plus the allowance: weights hardly shrink.
INFLATION = 4
ALLOWANCE = 64 << 20
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
CHUNK = 16 << 20
#: How files begin that are often found under the name of a checkpoint, and what they are.
FOREIGN = (
    (b'version https://git-lfs', 'a pointer of Git LFS; fetch the file itself with `git lfs pull`'),
    (b'\x89HDF', 'an HDF5 file (Keras); convert it with the library that wrote it'),
    (b'\x1f\x8b', 'compressed by gzip; unpack it first'),
    (b'7z\xbc\xaf', 'a 7z archive; unpack it first'),
    (b'Rar!', 'a RAR archive; unpack it first'),
    (b'\x08\x00\x00\x00', 'a TensorFlow or ONNX file, not weights of torch'),
    (b'\x93NUMPY', 'a numpy array, not weights by name'),
)


class ArchiveError(Exception):
    """A file is no checkpoint, is damaged, or would unpack to far more than it holds."""


def read_archive(path: str | os.PathLike, shapes_only: bool = False) -> Any:
    """Read a checkpoint without running anything in it.

    Args:
        path (str | PathLike): A file that ``torch.save`` wrote, or ``.safetensors`` by content.
        shapes_only (bool): Do not read the values, which takes no time for any size: tensors are
            on the ``meta`` device.

    Returns:
        Any: What was saved, tensors on the CPU.

    Raises:
        ArchiveError: It is no checkpoint, or is damaged or blown up.
        UnsafePickle: It holds what is no data.
        Exception: It is malformed; of any type.
    """
    path = Path(path)
    with path.open('rb') as file:
        head = file.read(512)
        if not head:
            raise ArchiveError('the file is empty')
        if head.startswith(b'PK\x03\x04'):
            content = ZipReader(path, shapes_only).read()
        elif is_safetensors(head, path.stat().st_size):
            return read_safetensors(path, shapes_only)
        elif head[:1] == b'\x80' and head[1:2] in b'\x02\x03\x04\x05':
            file.seek(0)
            content = LegacyReader(file, path.stat().st_size, shapes_only).read()
        else:
            raise ArchiveError(what_it_is(head))
    check_size(content, path.stat().st_size)
    return content


def what_it_is(head: bytes) -> str:
    """A sentence on a file that is no checkpoint, from its first bytes."""
    text = head.lstrip(b'\xef\xbb\xbf \t\r\n')
    if text[:1] == b'<':
        return 'it is a web page (HTML or XML), not a checkpoint; the download went wrong'
    for start, name in FOREIGN:
        if head.startswith(start):
            return f'it is {name}'
    if text[:1] in (b'{', b'['):
        return 'it is JSON, not a checkpoint'
    if b'ustar' in head[250:270]:
        return 'it is a tar archive (torch before 0.4, or a packed folder); unpack or convert it'
    return (
        f'it is neither what torch.save writes nor safetensors (it begins with {head[:8].hex(" ")})'
    )


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file is safetensors: the length of its header, and the header."""
    return head[8:9] == b'{' and int.from_bytes(head[:8], 'little') <= size - 8


def read_safetensors(path: Path, shapes_only: bool) -> dict[str, Tensor]:
    """Tensors by name, or what they are like on the ``meta`` device."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    if not shapes_only:
        return load_file(path)
    with safe_open(path, 'pt') as file:
        return {
            name: torch.empty(file.get_slice(name).get_shape(), device='meta')
            for name in file.keys()  # noqa: SIM118 - no mapping
        }


class ZipReader:
    """A ZIP that ``torch.save`` wrote: ``<root>/data.pkl`` and ``<root>/data/<key>``.

    Args:
        path (Path): The file.
        shapes_only (bool): Whether to leave the values out.
    """

    def __init__(self, path: Path, shapes_only: bool) -> None:
        self.path = path
        self.shapes_only = shapes_only
        self.storages: dict[str, FlatStorage] = {}

    def read(self) -> Any:
        """What was saved."""
        try:
            archive = zipfile.ZipFile(self.path)
        except zipfile.BadZipFile as error:
            raise ArchiveError(
                'the file is cut off or damaged (no directory of the ZIP at its end)'
            ) from error
        with archive:
            self.archive, self.entries = archive, entries_of(archive, self.path.stat().st_size)
            roots = [name.removesuffix('data.pkl') for name in self.entries]
            roots = [root for root in roots if root + 'data.pkl' in self.entries]
            if len(roots) != 1:
                raise ArchiveError('it is a ZIP archive, but not one that torch.save wrote')
            self.root = roots[0]
            if self.root + 'constants.pkl' in self.entries:
                raise ArchiveError(
                    'it is a TorchScript program, which is code; save its state_dict() instead'
                )
            order = self.entries.get(self.root + 'byteorder')
            if order is not None and self.archive.read(order).strip() != b'little':
                raise ArchiveError('it was written on a big-endian machine, which is not read')
            with self.archive.open(self.entries[self.root + 'data.pkl']) as file:
                return read_pickle(file, self.storage)

    def storage(self, pid: Any) -> FlatStorage:
        """The storage for a persistent id, once."""
        dtype, key, numel = storage_id(pid)
        if key not in self.storages:
            entry = self.entries.get(f'{self.root}data/{key}')
            nbytes = numel * dtype.itemsize
            if entry is None or entry.file_size < nbytes:
                raise ArchiveError(f'it is damaged: storage {key} is missing or too short')
            memory = None
            if not self.shapes_only:
                memory = bytearray(nbytes)
                with self.archive.open(entry) as file:
                    fill(memory, file)
            self.storages[key] = FlatStorage(nbytes, dtype, memory)
        found = self.storages[key]
        return found if found.dtype == dtype else replace(found, dtype=dtype)


def entries_of(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Entries by name.

    Raises:
        ArchiveError: Two have one name, or all unpacked are far more than the file.
    """
    infos = archive.infolist()
    entries = {info.filename: info for info in infos}
    if len(entries) != len(infos):
        raise ArchiveError('it holds two entries of one name')
    refuse_inflation(sum(info.file_size for info in infos), size)
    return entries


def refuse_inflation(unpacked: int, size: int) -> None:
    """Raise ArchiveError if a file would unpack to far more than its size."""
    if unpacked > INFLATION * size + ALLOWANCE:
        raise ArchiveError(
            f'it would unpack from {size / 1e6:.1f} MB to {unpacked / 1e6:,.0f} MB; weights do not '
            'shrink like that, so it is damaged or made to fill the memory'
        )


def storage_id(pid: Any) -> tuple[Any, str, int]:
    """Element type, key and number of elements of a persistent id.

    Raises:
        ArchiveError: It is none of a storage.
    """
    whole = isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == 'storage'
    if not whole or type(pid[4]) is not int or pid[4] < 0:
        raise ArchiveError('it refers to something that is no storage')
    return storage_dtype(pid[1]), str(pid[2]), pid[4]


def fill(memory: bytearray | memoryview, file: IO[bytes]) -> None:
    """Read as much as ``memory`` holds.

    Raises:
        ArchiveError: There is less.
    """
    target = memoryview(memory)
    while target:
        data = file.read(min(len(target), CHUNK))
        if not data:
            raise ArchiveError('it is cut off')
        target[: len(data)] = data
        target = target[len(data) :]


class LegacyReader:
    """The format before torch 1.6: pickles, then the storages one after the other.

    Args:
        file (BinaryIO): Open at its start.
        size (int): Its size.
        shapes_only (bool): Whether to leave the values out.
    """

    def __init__(self, file: BinaryIO, size: int, shapes_only: bool) -> None:
        self.file = file
        self.size = size
        self.shapes_only = shapes_only
        self.storages: dict[str, FlatStorage] = {}

    def read(self) -> Any:
        """What was saved."""
        if read_pickle(self.file) != LEGACY_MAGIC:
            raise ArchiveError('it is a pickle that torch.save did not write')
        read_pickle(self.file)  # version of the format
        if not read_pickle(self.file).get('little_endian', True):
            raise ArchiveError('it was written on a big-endian machine, which is not read')
        content = read_pickle(self.file, self.storage)
        for key in () if self.shapes_only else read_pickle(self.file):
            storage = self.storages.get(str(key))
            numel = int.from_bytes(self.file.read(8), 'little')
            if storage is None or numel * storage.dtype.itemsize != storage.nbytes:
                raise ArchiveError(f'it is damaged: storage {key} has another size')
            if storage.memory is not None:
                fill(storage.memory, self.file)
        return content

    def storage(self, pid: Any) -> FlatStorage:
        """The storage for a persistent id; its bytes come later."""
        dtype, key, numel = storage_id(pid)
        if key not in self.storages:
            nbytes = numel * dtype.itemsize
            if sum(storage.nbytes for storage in self.storages.values()) + nbytes > self.size:
                raise ArchiveError('it is cut off, or asks for more memory than the file holds')
            memory = None if self.shapes_only else bytearray(nbytes)
            self.storages[key] = FlatStorage(nbytes, dtype, memory)
        found = self.storages[key]
        view = pid[5] if len(pid) == 6 else None
        if view is None:
            return found
        _, offset, length = view
        start, end = offset * dtype.itemsize, (offset + length) * dtype.itemsize
        if not 0 <= start <= end <= found.nbytes:
            raise ArchiveError('a part of a storage reaches beyond it')
        part = None if found.memory is None else memoryview(found.memory)[start:end]
        return FlatStorage(end - start, dtype, part)


def check_size(content: Any, size: int) -> None:
    """Raise ArchiveError if the tensors together are far more than the file.

    A tensor can repeat one number without end (a stride of 0), and fills the memory once copied.
    """
    total, seen, open_ = 0, set(), [content]
    while open_:
        item = open_.pop()
        if isinstance(item, Tensor):
            total += math.prod(item.shape) * item.element_size()
        elif isinstance(item, dict | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            open_.extend(item.values() if isinstance(item, dict) else item)
    refuse_inflation(total, size)
