"""Whether an output folder is what a command would write again."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..version import __version__
from .sources import open_zip, walk_files

__all__ = ['fingerprint', 'is_current', 'measure']


def fingerprint(options: Mapping, sources: Iterable[Path]) -> str:
    """Digest of all that the output depends on.

    Args:
        options (Mapping): The options of the command, JSON values.
        sources (Iterable[Path]): Files and folders that are read; of a zip its directory with the
            check sums is enough.

    Returns:
        str: Equal for equal content, wherever it lies.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([__version__, options], sort_keys=True).encode())
    for source in sources:
        digest.update(b'\0source\0')
        for name, content in _contents(source):
            digest.update(f'{len(name)}:{name}:{len(content)}:'.encode('utf-8', 'surrogatepass'))
            digest.update(content)
    return digest.hexdigest()


def measure(root: Path) -> dict[str, int]:
    """Number of files below a folder, without ``dataset.json``, and their bytes."""
    sizes = [
        path.stat().st_size
        for path in root.rglob('*')
        if path.is_file() and path != root / 'dataset.json'
    ]
    return dict(count=len(sizes), bytes=sum(sizes))


def is_current(out: Path, mark: str) -> bool:
    """Whether ``out`` holds the whole data set with this fingerprint."""
    try:
        content = json.loads((out / 'dataset.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return False
    if not isinstance(content, dict) or content.get('fingerprint') != mark:
        return False
    return content.get('files') == measure(out)


def _contents(source: Path) -> Iterable[tuple[str, bytes]]:
    if source.is_dir():
        for path in sorted(walk_files(source)):
            yield path.relative_to(source).as_posix(), path.read_bytes()
    elif zipfile.is_zipfile(source):
        with open_zip(source, 'data set') as archive:
            for info in archive.infolist():
                yield info.filename, f'{info.file_size}:{info.CRC}'.encode()
    elif source.exists():
        yield '', source.read_bytes()
