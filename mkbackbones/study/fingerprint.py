"""What a run depends on, in short: its config, the code, the data, the versions of libraries."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

from mmengine.config import Config

__all__ = ['code_version', 'config_hash', 'data_hash', 'library_versions']

PACKAGE = Path(__file__).resolve().parents[1]
#: Parts of the package that no training passes through.
NOT_TRAINING = ('commands', 'datasets', 'study')
#: The exceptions below ``study``.
TRAINING = ('collect', 'configs', 'fairness', 'groups', 'recording', 'training', 'worker')
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
            top = name.parts[0]
            if top in NOT_TRAINING and not (top == 'study' and path.stem in TRAINING):
                continue
            if '.mim' not in name.parts:
                yield name.as_posix().encode()
                yield path.read_bytes()

    return short_hash(parts())


@cache
def commit() -> str:
    """Commit of the checkout that the package lies in; empty outside one."""
    command = ['git', '-C', str(PACKAGE), 'describe', '--always', '--dirty', '--abbrev=12']
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ''
    return done.stdout.strip()


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
def data_hash(root: str) -> str:
    """Hash of a data set's folder; it ends in ``-names`` where only names and sizes count."""
    files = sorted(path for path in Path(root).rglob('*') if path.is_file())
    by_content = sum(path.stat().st_size for path in files) <= CONTENT_BYTES

    def parts() -> Iterator[bytes]:
        for path in files:
            yield path.relative_to(root).as_posix().encode()
            yield path.read_bytes() if by_content else str(path.stat().st_size).encode()

    return short_hash(parts()) + ('' if by_content else '-names')
