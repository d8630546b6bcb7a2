"""Read-only access to the files of a folder or of a zip, by the same names."""

from __future__ import annotations

import lzma
import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from .errors import DatasetError
from .naming import first_few

__all__ = ['ONE_IMAGE', 'Source', 'check_name', 'normal_form', 'open_zip', 'walk_files']

_LONGEST_LINK = 1000
_LEFT_BY_TOOLS = """
__MACOSX .DS_Store .AppleDouble .AppleDB .LSOverride .Spotlight-V100 .Trashes .fseventsd
.TemporaryItems .localized .directory .thumbnails @eaDir .git .gitignore .gitattributes
.gitkeep .gitmodules .github .gitlab .gitlab-ci.yml .hg .svn .dvc .dvcignore .keep .idea
.vscode .cache .venv .ipynb_checkpoints __pycache__ .pytest_cache .ruff_cache .mypy_cache
.pre-commit-config.yaml .editorconfig
"""
_CLUTTER = frozenset(_LEFT_BY_TOOLS.split())
"""What operating systems and tools leave in a folder; anything else that is hidden is read."""
_CLUTTER_STARTS = ('._', '.Trash-', '.~lock.', '.nfs', '.fuse_hidden')
_ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,  # also what is not implemented, and a password
    OverflowError,
    ValueError,
    KeyError,
)
_LARGEST = 2 << 30
"""Bytes that a file of a zip may grow to."""
_SMALL, _MOST_PACKED = 16 << 20, 200
"""Above so many bytes, a file of a zip may grow to so many times its packed size."""
_LFS_POINTER = b'version https://git-lfs'
ONE_IMAGE = 16 << 20
"""Bytes of the annotation of one image, as text."""
_LARGEST_TEXTS = dict.fromkeys(('.json', '.xml'), 512 << 20) | dict.fromkeys(
    ('.txt', '.yaml', '.yml', '.names', '.data', '.csv'), ONE_IMAGE
)


class Source:
    """A folder or a zip file.

    Args:
        path (str | Path): The folder or the zip.
        what (str): What the path should hold, for messages, e.g. ``'NEU-DET'``.

    Attributes:
        names (list[str]): All files, as sorted POSIX paths below the source, without those that
            operating systems and tools add (``.DS_Store``, ``.git``); hidden ones are among them.
        folders (list[str]): All folders, likewise.

    Raises:
        DatasetError: The path does not exist, is neither a folder nor a zip, or holds what is
            neither a file nor a folder, or lies outside of it (``..``).
    """

    def __init__(self, path: str | Path, what: str) -> None:
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        if self.path.is_dir():
            files, folders = _walk(self.path)
            names = [file.relative_to(self.path).as_posix() for file in files]
            self.folders = [folder.relative_to(self.path).as_posix() for folder in folders]
        elif self.path.is_file():
            self._zip = open_zip(self.path, what)
            every = self._zip.namelist()
            names = [name for name in every if not name.endswith(('/', '\\'))]
            self.folders = sorted({_posix(name, self.path) for name in set(every) - set(names)})
        else:
            raise DatasetError(f'{self.path} does not exist: give the {what} folder or its .zip')
        self._stored: dict[str, str] = {}
        for name in names:
            posix = _posix(name, self.path)
            if _is_clutter(posix):
                continue
            check_name(name, self.path)
            self._check_link(name)
            if posix in self._stored:
                raise DatasetError(f'{self.path} holds two files called {posix}')
            self._stored[posix] = name
        self.names = sorted(self._stored)
        self._added: dict[str, Callable[[], bytes]] = {}

    def add(self, name: str, read: Callable[[], bytes]) -> None:
        """Offer what lies inside another file as a file of its own."""
        self._added[name] = read
        self.names.append(name)

    def read(self, name: str, largest: int | None = None) -> bytes:
        """The content of one of :attr:`names`.

        Args:
            name (str): The file.
            largest (int | None): Bytes from which on it is refused; None goes by the suffix: 512
                MiB for JSON and XML, 16 for other texts, 2048 for a file of a zip.

        Raises:
            DatasetError: The file cannot be read, e.g. for a wrong check sum in the zip, is larger,
                is above 16 MiB and packed to less than a 200th, or is but a pointer of Git LFS.
        """
        if name in self._added:
            return self._added[name]()
        stored = self._stored.get(name, name)
        try:
            self._check_size(name, stored, largest)
            file = self.path / stored
            content = file.read_bytes() if self._zip is None else self._zip.read(stored)
        except DatasetError:
            raise
        except (OSError, *_ZIP_FAULTS) as error:
            raise DatasetError(f'{self.where(name)} cannot be read: {error}') from error
        if content.startswith(_LFS_POINTER):
            raise DatasetError(
                f'{self.where(name)} is a pointer of Git LFS; fetch the files themselves with '
                '`git lfs pull`'
            )
        return content

    def _check_size(self, name: str, stored: str, largest: int | None) -> None:
        """Refuse a file that would fill the memory, before it is read."""
        largest = largest or _LARGEST_TEXTS.get(PurePosixPath(name).suffix.lower())
        info = None if self._zip is None else self._zip.getinfo(stored)
        size = (self.path / stored).stat().st_size if info is None else info.file_size
        if largest is not None and size > largest:
            raise DatasetError(
                f'{self.where(name)} has {size / 2**20:.0f} MiB, more than the '
                f'{largest >> 20} that are read of such a file: split it, or mend it'
            )
        if info is not None and (
            size > _LARGEST or (size > _SMALL and size > _MOST_PACKED * info.compress_size)
        ):
            raise DatasetError(
                f'{self.where(name)} would take {size / 2**20:.0f} MiB, which is more than '
                f'{_LARGEST >> 20} or more than {_MOST_PACKED} times what the zip holds of it: if '
                'it is sound, unpack it and give the folder'
            )

    def _check_link(self, name: str) -> None:
        if self._zip is not None and stat.S_ISLNK(self._zip.getinfo(name).external_attr >> 16):
            raise DatasetError(
                f'{self.where(name)} is a link, and a zip holds its target only by name: make the '
                'zip anew without links'
            )

    def where(self, name: str) -> str:
        """A file's name for messages, which does not depend on where the source lies."""
        root = self.path.name or self.path.resolve().name
        return f'{root}{":" if self._zip else "/"}{name}'

    def require(self, needed: Iterable[str], found: Iterable[str], what: str) -> None:
        """Check that nothing is missing.

        Args:
            needed (Iterable[str]): File names, in the order in which they are listed.
            found (Iterable[str]): Those that are there.
            what (str): The kind of file, for the message.

        Raises:
            DatasetError: Some are missing; the first five are named.
        """
        needed, found = list(needed), set(found)
        missing = [name for name in needed if name not in found]
        if missing:
            raise DatasetError(
                f'{self.path} is incomplete: {len(missing)} of {len(needed)} {what} files are '
                f'missing: {first_few(missing)}'
            )


def normal_form(name: str) -> str:
    """A name in the composed Unicode form: macOS decomposes what annotation tools compose."""
    return unicodedata.normalize('NFC', name)


def open_zip(path: Path, what: str) -> zipfile.ZipFile:
    """Open a zip file.

    Args:
        path (Path): The file.
        what (str): What it should hold, for the message.

    Raises:
        DatasetError: Not a zip, or a damaged one.
    """
    try:
        return zipfile.ZipFile(path)
    except _ZIP_FAULTS as error:
        raise DatasetError(
            f'{path} is not a zip file ({error}): give the {what} folder or its .zip'
        ) from None


def walk_files(root: Path) -> list[Path]:
    """All files below a folder; links are followed, as the tools that made them do.

    Args:
        root (Path): The folder.

    Raises:
        DatasetError: A folder that cannot be read, a link to nothing, or one to a folder around it:
            what is not seen would be taken as not annotated.
    """
    return _walk(root)[0]


def _walk(root: Path) -> tuple[list[Path], list[Path]]:
    """Files and folders below a folder; see :func:`walk_files`."""

    def fail(error: OSError) -> None:
        raise DatasetError(f'{error.filename} cannot be read: {error.strerror}')

    files, inner = [], []
    # The real folders on the way to each: links may also lead to each other.
    ways: dict[str, tuple[str, ...]] = {}
    for folder, folders, names in os.walk(root, onerror=fail, followlinks=True):
        way = (*ways.get(os.path.dirname(folder), ()), f'{os.path.realpath(folder)}/')
        ways[folder] = way
        for name in list(folders):
            below = os.path.join(folder, name)
            if _is_clutter(name):
                folders.remove(name)
            elif os.path.islink(below) and any(
                step.startswith(f'{os.path.realpath(below)}/') for step in way
            ):
                raise DatasetError(f'{below} is a link to a folder that it lies in: remove it')
            else:
                inner.append(Path(below))
        for name in names:
            path = Path(folder, name)
            if _is_clutter(name):
                continue
            if path.is_file():
                _check_link_text(path)
                files.append(path)
            elif path.is_symlink() and not path.exists():
                raise DatasetError(f'{path} is a link to nothing: remove it, or mend its target')
            else:
                raise DatasetError(f'{path} is neither a file nor a folder: remove it')
    return files, inner


def _check_link_text(path: Path) -> None:
    """Refuse a link that git or an unzip wrote as a text with its target."""
    if path.suffix or path.stat().st_size > _LONGEST_LINK:
        return
    try:
        target = path.read_bytes().decode()
        if '/' in target and '\n' not in target and (path.parent / target).exists():
            raise DatasetError(
                f'{path} seems to be a link that was copied as text: make it a link to {target}'
            )
    except (OSError, UnicodeDecodeError):
        return
    except ValueError as error:
        if isinstance(error, DatasetError):
            raise


def check_name(name: str, root: Path) -> None:
    """Refuse a file name that cannot be written into a text.

    Args:
        name (str): The file's path below ``root``.
        root (Path): The folder or zip, for the message.

    Raises:
        DatasetError: Bytes that are not UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DatasetError(
            f'{root} holds a file whose name is not UTF-8: {os.fsencode(name)!r}; rename it'
        ) from None


def _posix(name: str, root: Path) -> str:
    """A name of a zip as a path below it; zip tools of Windows write its separators."""
    parts = [part for part in name.replace('\\', '/').split('/') if part not in ('', '.')]
    if '..' in parts:
        raise DatasetError(
            f'{root} holds {name!r}, a path out of it (..): make the zip anew from its folder'
        )
    return '/'.join(parts)


def _is_clutter(name: str) -> bool:
    return any(part in _CLUTTER or part.startswith(_CLUTTER_STARTS) for part in name.split('/'))
