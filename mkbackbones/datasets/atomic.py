"""An output folder that appears whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from mkbackbones.datasets.records import DatasetError

__all__ = ['atomic_output']


@contextmanager
def atomic_output(
    out: Path, *, overwrite: bool = False, expected: Collection[str] = ()
) -> Iterator[Path]:
    """Give a temporary folder beside ``out`` that takes its place when the block succeeds.

    Args:
        out (Path): The folder to create.
        overwrite (bool): Replace a non-empty ``out``, at the end.
        expected (Collection[str]): What a folder to be replaced may hold: a mistyped path must
            not cost somebody's home folder.

    Yields:
        Path: The folder to write into. It is removed if the block raises, and a former ``out``
        then stays as it was.

    Raises:
        DatasetError: ``out`` cannot be created, or may not be replaced.
    """
    out = out.resolve()
    _check_replaceable(out, overwrite, expected)
    work = out.parent / f'.{out.name}.{uuid.uuid4().hex[:8]}.partial'
    try:
        work.mkdir(parents=True)
    except OSError as error:
        raise DatasetError(f'cannot create {out}: {error.strerror}') from error
    try:
        yield work
        _swap(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_replaceable(out: Path, overwrite: bool, expected: Collection[str]) -> None:
    if out.exists() and not out.is_dir():
        raise DatasetError(f'output {out} is a file: name a folder')
    content = sorted(entry.name for entry in out.iterdir()) if out.is_dir() else []
    if content and not overwrite:
        raise DatasetError(
            f'output folder {out} is not empty: name another one, or add --overwrite to replace it'
        )
    foreign = [name for name in content if name not in expected]
    if foreign:
        raise DatasetError(
            f'output folder {out} holds more than a data set ({foreign[0]}), so it is not '
            'replaced: name another one'
        )


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
