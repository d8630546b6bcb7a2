"""An output folder that appears whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mkbackbones.datasets.records import DatasetError

__all__ = ['atomic_output']


@contextmanager
def atomic_output(out: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside ``out`` that takes its place when the block succeeds.

    Args:
        out (Path): The folder to create.
        overwrite (bool): Replace a non-empty ``out``, at the end.

    Yields:
        Path: The folder to write into. It is removed if the block raises, and a former ``out``
        then stays as it was.

    Raises:
        DatasetError: ``out`` is a file, or not empty and ``overwrite`` is not set.
    """
    out = out.absolute()
    if out.exists() and not out.is_dir():
        raise DatasetError(f'output {out} is a file: name a folder')
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise DatasetError(
            f'output folder {out} is not empty: name another one, or add --overwrite to replace it'
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f'.{out.name}.', suffix='.partial', dir=out.parent))
    except OSError as error:
        raise DatasetError(f'cannot write beside {out}: {error.strerror}') from error
    try:
        # mkdtemp is private to its owner; the data set should be as readable as its parent.
        work.chmod(out.parent.stat().st_mode & 0o777)
        yield work
        _swap(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _swap(work: Path, out: Path) -> None:
    """Rename ``work`` to ``out``; keep a former ``out`` until that has succeeded."""
    if not out.exists():
        work.rename(out)
        return
    former = work.with_suffix('.former')
    out.rename(former)
    try:
        work.rename(out)
    except OSError:
        former.rename(out)
        raise
    shutil.rmtree(former)
