"""What a run depends on, in short: its config, the code, the data, the versions of libraries."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from .hash_cache import known_hash, remember_hash

__all__ = ['code_version', 'config_hash', 'data_hash', 'library_versions', 'weights_hash']

PACKAGE = Path(__file__).resolve().parents[2]
#: Parts of the package that no run passes through. What is not named here counts, so that a new
#: file does; a test holds the list against what a worker imports.
NOT_IN_A_RUN = (
    *('commands', 'export', 'leakage', 'profiling', 'swap'),
    # The others see the test pictures of a task with tiles.
    *(f'predict/{name}.py' for name in ('alarms', 'formats', 'gallery', 'inputs', 'model')),
    *(f'predict/{name}.py' for name in ('output', 'painting', 'predictor')),
    *('__main__.py', 'attention/inject.py', 'version.py'),
    *('checkpoints/convert.py', 'checkpoints/fold.py', 'checkpoints/write.py'),
    *('datasets/generic', 'datasets/public', 'datasets/synthetic.py', 'datasets/textures.py'),
    'datasets/contact_sheet.py',
    *(f'study/{room}' for room in ('packs', 'report', 'run', 'statistics')),
    *(f'study/define/{name}.py' for name in ('parts', 'plan')),
    *(f'study/prepare/{name}.py' for name in ('data_sets', 'description', 'fingerprint', 'folds')),
    *(f'study/prepare/{name}.py' for name in ('hash_cache', 'iterations', 'pools', 'prepared')),
    *(f'study/prepare/{name}.py' for name in ('sentences', 'tiles')),
    *(f'study/records/{name}.py' for name in ('ledger', 'study_folder')),
    'study/worker/measuring.py',
)
#: Data sets up to this size are hashed by content, larger ones by names and sizes.
CONTENT_BYTES = 1 << 30
#: Under which names else a library is published; one that is not here is looked for, which takes
#: seconds.
OTHER_NAMES = {
    'mmcv': ('onedl-mmcv', 'mmcv-full', 'mmcv-lite'),
    'mmdet': ('onedl-mmdetection',),
    'mmengine': ('onedl-mmengine', 'mmengine-lite'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
}
LIBRARIES = ('torch', 'torchvision', 'timm', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmseg')


def short_hash(parts: Iterator[bytes]) -> str:
    """Twelve hexadecimal digits of a SHA-256."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
        digest.update(b'\0')
    return digest.hexdigest()[:12]


def config_hash(cfg: Config, data_root: str) -> str:
    """Hash of a config, wherever its data lie."""
    text = json.dumps(cfg.to_dict(), sort_keys=True, default=str)
    if data_root:
        text = text.replace(json.dumps(data_root)[1:-1], '<data>/')
    return short_hash(iter([text.encode()]))


@cache
def code_hash() -> str:
    """Hash of the package's code that a training passes through."""

    def parts() -> Iterator[bytes]:
        for path in sorted(PACKAGE.rglob('*.py')):
            name = path.relative_to(PACKAGE)
            if counts(name):
                yield name.as_posix().encode()
                yield path.read_bytes()

    return short_hash(parts())


def counts(name: Path) -> bool:
    """Whether a file of the package, by its path in it, is part of a run."""
    return '.mim' not in name.parts and not any(name.is_relative_to(p) for p in NOT_IN_A_RUN)


@cache
def commit() -> str:
    """Commit of the checkout that the package lies in; empty outside one."""
    git = ['git', '-C', str(PACKAGE)]

    def ask(*question: str) -> str:
        done = subprocess.run(
            [*git, *question],
            capture_output=True,
            encoding='utf-8',
            errors='replace',
            timeout=20,
            check=True,
        )
        return done.stdout.strip()

    try:
        # A package in a virtual environment may lie within a repository that is not its own.
        ask('ls-files', '--error-unmatch', '__init__.py')
        return ask('describe', '--always', '--dirty', '--abbrev=12')
    except (OSError, subprocess.SubprocessError):
        return ''


def code_version() -> dict[str, str]:
    """Commit and hash of the code."""
    return {'commit': commit() or 'not a git checkout', 'code': code_hash()}


@cache
def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a training passes through."""
    versions = {'python': platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = library_version(name)
    return versions


def library_version(name: str) -> str:
    """Version of a library by its import name.

    Raises:
        PackageNotFoundError: It is not installed.
    """
    for distribution in (name, *OTHER_NAMES.get(name, ())):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    if find_spec(name) is None:
        raise metadata.PackageNotFoundError(name)
    return metadata.version(next(iter(metadata.packages_distributions().get(name, [name]))))


@cache
def data_hash(*roots: str, verify: bool = False) -> str:
    """Hash of folders and files with data; it ends in ``-names`` where names and sizes count alone.

    Links are followed: what a run reads is what counts, wherever it lies.

    Args:
        *roots (str): The folders and files.
        verify (bool): Read every file, also where none has another size or time of change than
            when it was last read.
    """
    files = [file for root in roots for file in files_below(root)]
    by_content = sum(file.size for file in files) <= CONTENT_BYTES
    if not by_content:
        parts = (part for file in files for part in (file.name, str(file.size)))
        return short_hash(map(os.fsencode, parts)) + '-names'
    listing = short_hash(
        os.fsencode(f'{file.name}\0{file.place}\0{file.size}\0{file.changed}') for file in files
    )
    known = None if verify else known_hash(listing)
    if known is not None:
        return known

    def content() -> Iterator[bytes]:
        for file in files:
            yield os.fsencode(file.name)
            with open(file.place, 'rb') as opened:
                yield opened.read()

    found = short_hash(content())
    remember_hash(listing, found, max((file.changed / 1e9 for file in files), default=0.0))
    return found


class File(NamedTuple):
    """A file below a folder: its name there, where it lies, bytes, time of change in ns."""

    name: str
    place: str
    size: int
    changed: int


def files_below(root: str) -> list[File]:
    """Files below a folder, by their names there, links followed, each folder once; or the file."""
    if os.path.isfile(root):
        about = os.stat(root)
        place = os.path.realpath(root)
        return [File(os.path.basename(root), place, about.st_size, about.st_mtime_ns)]
    found: list[File] = []
    seen: set[str] = set()
    left = [('', root)]
    while left:
        prefix, folder = left.pop()
        place = os.path.realpath(folder)
        if place in seen:  # a link back to where it came from
            continue
        seen.add(place)
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name, reverse=True)
        except PermissionError:  # nor can a run read it
            continue
        for entry in entries:
            path = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
            if entry.is_dir():
                left.append((f'{prefix}{entry.name}/', path))
            elif entry.is_file():
                about = entry.stat()
                found.append(File(prefix + entry.name, path, about.st_size, about.st_mtime_ns))
    return sorted(found)


@cache
def file_hash(path: str, size: int, changed: int) -> str:
    """Hash of a file's content; size and time of change are there for the cache."""
    with open(path, 'rb') as file:
        return short_hash(iter(lambda: file.read(1 << 24), b''))


def weights_hash(checkpoint: str) -> str:
    """What stands for the content of a checkpoint: its hash, or a URL, which is all there is."""
    path = Path(checkpoint)
    if not path.is_file():
        return checkpoint
    about = path.stat()
    return file_hash(str(path.resolve()), about.st_size, about.st_mtime_ns)
