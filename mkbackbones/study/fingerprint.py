"""What a run depends on, in short: its config, the code, the data, the versions of libraries."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

from mmengine.config import Config

__all__ = ['code_version', 'config_hash', 'data_hash', 'library_versions', 'weights_hash']

PACKAGE = Path(__file__).resolve().parents[1]
#: Parts of the package that no run passes through. What is not named here counts, so that a new
#: file does; a test holds the list against what a worker imports.
NOT_IN_A_RUN = (
    *('leakage', 'profiling', 'swap', 'export.py', '__main__.py', 'version.py', 'inject.py'),
    *('checkpoints/convert.py', 'checkpoints/fold.py', 'checkpoints/write.py'),
    *('datasets/generic', 'datasets/public', 'datasets/synthetic.py', 'datasets/textures.py'),
    *(f'study/{name}' for name in ('executors', 'report', 'statistics')),
    *(f'study/{name}.py' for name in ('chance', 'changes', 'estimate', 'ledger', 'live', 'means')),
    *(f'study/{name}.py' for name in ('plan', 'prepared', 'schedule', 'sentences')),
    *(f'study/{name}.py' for name in ('iterations', 'measuring', 'mps', 'throughput')),
    *('study/side_by_side.py', 'study/fingerprint.py'),
)
#: Commands that a run does pass through.
COMMANDS = ('config_files', 'config_values', 'errors', 'launch', 'preflight', 'train')
#: Data sets up to this size are hashed by content, larger ones by names and sizes.
CONTENT_BYTES = 1 << 30
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
    if '.mim' in name.parts or (name.parts[0] == 'commands' and name.stem not in COMMANDS):
        return False
    return not any(name.is_relative_to(part) for part in NOT_IN_A_RUN)


@cache
def commit() -> str:
    """Commit of the checkout that the package lies in; empty outside one."""
    git = ['git', '-C', str(PACKAGE)]

    def ask(*question: str) -> str:
        done = subprocess.run(
            [*git, *question], capture_output=True, text=True, timeout=20, check=True
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
        for distribution in metadata.packages_distributions().get(name, [])[:1]:
            versions[name] = metadata.version(distribution)
    return versions


@cache
def data_hash(*roots: str) -> str:
    """Hash of folders and files with data; it ends in ``-names`` where names and sizes count alone.

    Links are followed: what a run reads is what counts, wherever it lies.
    """
    files = [(name, path) for root in roots for name, path in files_below(Path(root))]
    by_content = sum(path.stat().st_size for _, path in files) <= CONTENT_BYTES

    def parts() -> Iterator[bytes]:
        for name, path in files:
            yield os.fsencode(name)
            yield path.read_bytes() if by_content else str(path.stat().st_size).encode()

    return short_hash(parts()) + ('' if by_content else '-names')


def files_below(root: Path) -> list[tuple[str, Path]]:
    """Files below a folder, by their names there, links followed, each folder once; or the file."""
    if root.is_file():
        return [(root.name, root)]
    found, seen = [], set()
    for folder, folders, names in os.walk(root, followlinks=True):
        place = Path(folder).resolve()
        if place in seen:  # a link back to where it came from
            folders.clear()
            continue
        seen.add(place)
        paths = [Path(folder, name) for name in names]
        found += [(p.relative_to(root).as_posix(), p) for p in paths if p.is_file()]
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
