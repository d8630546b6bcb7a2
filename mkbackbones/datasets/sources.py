"""Read-only access to the files of a folder or of a zip, by the same names."""

from __future__ import annotations

import unicodedata
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from mkbackbones.datasets.naming import first_few
from mkbackbones.datasets.records import DatasetError

__all__ = ['Source', 'normal_form']


class Source:
    """A folder or a zip file.

    Args:
        path (str | Path): The folder or the zip.
        what (str): What the path should hold, for messages, e.g. ``'NEU-DET'``.

    Attributes:
        names (list[str]): All files, as sorted POSIX paths below the source, without those that
            operating systems add.

    Raises:
        DatasetError: The path does not exist, or is neither a folder nor a zip.
    """

    def __init__(self, path: str | Path, what: str) -> None:
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        if self.path.is_dir():
            files = (file for file in self.path.rglob('*') if file.is_file())
            names = [file.relative_to(self.path).as_posix() for file in files]
        elif self.path.is_file():
            try:
                self._zip = zipfile.ZipFile(self.path)
            except zipfile.BadZipFile:
                raise DatasetError(
                    f'{self.path} is not a zip file: give the {what} folder or its .zip'
                ) from None
            names = [name for name in self._zip.namelist() if not name.endswith('/')]
        else:
            raise DatasetError(f'{self.path} does not exist: give the {what} folder or its .zip')
        self.names = sorted(name for name in names if not _is_clutter(name))

    def read(self, name: str) -> bytes:
        """The content of one of :attr:`names`.

        Raises:
            DatasetError: The file cannot be read, e.g. for a wrong check sum in the zip.
        """
        try:
            if self._zip is None:
                return (self.path / name).read_bytes()
            return self._zip.read(name)
        except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, KeyError) as error:
            raise DatasetError(f'{self.where(name)} cannot be read: {error}') from error

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


def _is_clutter(name: str) -> bool:
    parts = name.split('/')
    return parts[0] == '__MACOSX' or any(part.startswith('.') for part in parts)
