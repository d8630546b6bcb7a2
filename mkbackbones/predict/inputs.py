"""Which pictures are meant: files, folders, patterns, and lists of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..datasets.errors import DatasetError
from ..datasets.images import IMAGE_SUFFIXES, is_image
from ..datasets.naming import first_few, natural_order, unique_stems
from ..runner.errors import InputError

__all__ = ['Picture', 'find_pictures', 'name_pictures']

_VIDEOS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv')
_PATTERN = frozenset('*?[')


@dataclass(frozen=True)
class Picture:
    """A picture to predict.

    Args:
        path (Path): The file.
        name (str): Its path below the folder that all pictures share, with slashes.
        stem (str): What files about it are called: unique, without folders and suffix.
    """

    path: Path
    name: str
    stem: str


def find_pictures(
    inputs: Sequence[str], listed: Iterable[str] | None = None, without: Path | None = None
) -> list[Path]:
    """Files that the inputs stand for, each once, in the order in which they are given.

    Args:
        inputs (Sequence[str]): Files, folders (with what is below them), patterns such as
            ``line1/**/*.png``, and ``-`` for ``listed``.
        listed (Iterable[str], optional): Lines of a list of files and folders. A file that is not
            there is kept: whoever reads it will miss it, and the others are not lost.
        without (Path, optional): A folder below others of which nothing is taken: painted pictures
            of a former run are no inputs.

    Raises:
        InputError: Something does not exist, is a video, or has no pictures.
    """
    found: list[Path] = []
    for text in inputs:
        if text == '-':
            lines = [line.rstrip('\r\n') for line in listed or ()]
            for line in filter(str.strip, lines):
                found += below(Path(line), without) if os.path.isdir(line) else [still(Path(line))]
        elif os.path.isdir(text):
            found += below(Path(text), without)
        elif os.path.exists(text):
            found.append(still(Path(text)))
        elif _PATTERN & set(text):
            found += matching(text)
        else:
            raise InputError(f'input {text} does not exist; give a file, a folder or a pattern')
    if not found:
        raise InputError('the list of pictures is empty')
    return list({os.path.abspath(path): path for path in found}.values())


def still(path: Path) -> Path:
    """Raise InputError if a file is a video."""
    if path.suffix.lower() in _VIDEOS:
        raise InputError(
            f'{path} is a video, and pictures are read; write its frames first, e.g. with '
            f'ffmpeg -i {path.name} frames/%06d.png, and give the folder'
        )
    return path


def below(folder: Path, without: Path | None = None) -> list[Path]:
    """Pictures of a folder and its folders; those whose name begins with a dot are left out.

    Links to folders are followed, once to each: they may lead in a circle.

    Raises:
        InputError: There are none, or a folder that cannot be read.
    """

    def fail(error: OSError) -> None:
        raise InputError(f'folder {error.filename} cannot be read: {error.strerror}')

    names = []
    seen = {os.path.realpath(folder)}
    for root, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        real = {
            os.path.realpath(Path(root, name)): name
            for name in folders
            if not name.startswith('.') and not is_same(Path(root, name), without)
        }
        folders[:] = [name for place, name in real.items() if place not in seen]
        seen.update(real)
        names += [Path(root, name).as_posix() for name in files if not name.startswith('.')]
    pictures = natural_order(name for name in names if is_image(name))
    if not pictures:
        others = f'; it has {first_few(natural_order(names), 3)}' if names else ''
        raise InputError(f'folder {folder} has no pictures ({", ".join(IMAGE_SUFFIXES)}){others}')
    return [Path(name) for name in pictures]


def is_same(one: Path, other: Path | None) -> bool:
    """Whether two paths lead to one place."""
    return other is not None and os.path.realpath(one) == os.path.realpath(other)


def matching(pattern: str) -> list[Path]:
    """Files that a pattern fits.

    Raises:
        InputError: None does, or one is a video.
    """
    files = [Path(name).as_posix() for name in glob.glob(pattern, recursive=True)]
    files = natural_order(name for name in files if os.path.isfile(name))
    if not files:
        raise InputError(f'no file fits {pattern}')
    return [still(Path(name)) for name in files]


def name_pictures(paths: Sequence[Path]) -> list[Picture]:
    """Names by which outputs tell pictures apart.

    Args:
        paths (Sequence[Path]): Different files.
    """
    places = [Path(os.path.abspath(path)) for path in paths]
    try:
        root = os.path.commonpath([place.parent for place in places])
        names = [place.relative_to(root).as_posix() for place in places]
    except ValueError:  # on several drives
        names = [place.as_posix().replace(':', '', 1).lstrip('/') for place in places]
    try:
        stems = unique_stems(names)
    except DatasetError:  # two differ in the suffix alone
        stems = []
    if len({stem.casefold() for stem in stems}) < len(names):  # some file systems do not tell them
        stems = [name.replace('/', '__') for name in names]
    return [Picture(*entry) for entry in zip(paths, names, stems)]
