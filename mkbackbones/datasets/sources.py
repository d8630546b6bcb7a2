"""Read-only access to the files of a folder or of a zip, by the same names."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from mkbackbones.datasets.records import DatasetError

__all__ = ['Source', 'decode_image']


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
        except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise DatasetError(f'{self.where(name)} cannot be read: {error}') from error

    def where(self, name: str) -> str:
        """A file's name for messages."""
        return f'{self.path}{":" if self._zip else "/"}{name}'


def decode_image(content: bytes, where: str) -> np.ndarray:
    """Decode a whole image file, (height, width[, channels]) uint8; palette images as indices.

    Raises:
        DatasetError: Not an image, or a truncated one.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        reason = 'not an image' if isinstance(error, UnidentifiedImageError) else error
        raise DatasetError(f'{where}: corrupt image file ({reason})') from error


def _is_clutter(name: str) -> bool:
    parts = name.split('/')
    return parts[0] == '__MACOSX' or any(part.startswith('.') for part in parts)
