"""Files, and output folders, that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Each system has its own, and some have neither.
try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:
    msvcrt = None  # type: ignore[assignment]

__all__ = ['OutputError', 'atomic_output', 'locked', 'sync', 'why_not_written', 'written_aside']

WINDOWS = os.name == 'nt'
_PARTIAL, _FORMER = '.partial', '.former'
_SYNCED_AT_ONCE = 16
_OWNER = '.owner'
"""Behind the name of a temporary folder: a file that its process holds a lock on."""
_LOCKED_BYTE = 1 << 30
"""Windows locks bytes, and lets nobody read them: one far behind the content."""
_LOCK_SECONDS = 0.05
"""Between two tries to lock a file."""
_REPLACE_SECONDS = 2.0


class OutputError(ValueError):
    """A folder that cannot be created, or may not be replaced."""


def why_not_written(path: Path, force: bool) -> str:
    """Why a file may not be written, in a sentence; empty where it may.

    It is tried, in the folder or the first one above that there is: permissions alone do not tell,
    as file systems are read-only, full or of another kind.

    Args:
        path (Path): The file.
        force (bool): Whether one that exists may be replaced.
    """
    if path.is_dir():
        return f'{path} is a folder; give a file'
    if path.exists() and not force:
        return f'{path} exists; --force replaces it'
    there = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            return ''
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return f'{path} cannot be written: {there} takes no files ({reason})'


@contextmanager
def written_aside(path: Path, durable: bool = True) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; it takes the place of ``path`` on success.

    Args:
        path (Path): The file to write or replace; its folder has to exist.
        durable (bool): Survive a power cut: the content is on the disk before the name is. What is
            written every second and read by nobody later does without.

    Yields:
        Path: Where to write. After an error nothing of it is left, and ``path`` is as it was.
    """
    work = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:8]}.partial')
    try:
        yield work
        if durable:
            sync(work)
        _replace(work, path)
        if durable:
            sync(path.parent)
    finally:
        work.unlink(missing_ok=True)


def _replace(work: Path, path: Path) -> None:
    """Rename a file over another one; on Windows, wait for whoever reads that at the moment."""
    end = time.monotonic() + _REPLACE_SECONDS
    while True:
        try:
            os.replace(work, path)
            return
        except PermissionError:
            if not WINDOWS or time.monotonic() > end:
                raise
            time.sleep(0.02)


def locked(file: int, by_process: bool = False, patience: float = 0.0) -> bool:
    """Lock an open file until it is closed, or this process ends however it ends.

    Args:
        file (int): Descriptor of a file that may be written to.
        by_process (bool): Leave the lock out of what children of a fork inherit, such as workers of
            a data loader. In turn nothing keeps the same process from locking it twice, and closing
            any descriptor of that file ends the lock.
        patience (float): Seconds to wait for another who holds the lock.

    Returns:
        bool: False where another holds the lock.

    Raises:
        OSError: The file system or this Python has no locks.
    """
    end = time.monotonic() + patience
    while not _locked_now(file, by_process):
        if time.monotonic() > end:
            return False
        time.sleep(_LOCK_SECONDS)
    return True


def _locked_now(file: int, by_process: bool) -> bool:
    """:func:`locked`, without waiting."""
    unix: Any = fcntl
    if unix is not None:
        take = unix.lockf if by_process else unix.flock
        try:
            take(file, unix.LOCK_EX | unix.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True
    windows: Any = msvcrt
    if windows is None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    place = os.lseek(file, 0, os.SEEK_CUR)
    os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
    try:
        windows.locking(file, windows.LK_NBLCK, 1)
    except PermissionError:
        return False
    finally:
        os.lseek(file, place, os.SEEK_SET)
    return True


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    File systems that cannot do so for a folder are left alone: the rename itself is done.
    """
    is_folder = path.is_dir()
    try:
        # Windows asks for a handle that may write, and others for none.
        handle = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    except OSError:
        if is_folder:  # Windows opens no folders
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if not is_folder or error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@contextmanager
def atomic_output(
    out: Path, *, overwrite: bool = False, expected: Collection[str] = ()
) -> Iterator[Path]:
    """Give a temporary folder beside ``out`` that takes its place when the block succeeds.

    Temporary folders of the same ``out`` whose process was killed are removed first. What was
    written is on the disk before it takes its place, so that a power cut leaves the one or the
    other.

    Args:
        out (Path): The folder to create.
        overwrite (bool): Replace a non-empty ``out``, at the end.
        expected (Collection[str]): What a folder to be replaced may hold: a mistyped path must
            not cost somebody's home folder.

    Yields:
        Path: The folder to write into. It is removed if the block raises, and a former ``out``
        then stays as it was.

    Raises:
        OutputError: ``out`` cannot be created, or may not be replaced.
    """
    out = out.resolve()
    _remove_leftovers(out)
    _check_replaceable(out, overwrite, expected)
    work = out.parent / f'.{out.name}.{uuid.uuid4().hex[:8]}{_PARTIAL}'
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f'cannot create {out}: {error.strerror}') from error
    with _owned(work, out):
        try:
            work.mkdir()
        except OSError as error:
            raise OutputError(f'cannot create {out}: {error.strerror}') from error
        try:
            yield work
            _sync_tree(work)
            _swap(work, out)
            _sync(out.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _owned(work: Path, out: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, however it ends."""
    owner = Path(f'{work}{_OWNER}')
    try:
        file = os.open(owner, os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise OutputError(f'cannot create {out}: {error.strerror}') from error
    try:
        with contextlib.suppress(OSError):  # file systems without locks
            locked(file)
        yield
    finally:
        if WINDOWS:  # where open files stay
            os.close(file)
            owner.unlink(missing_ok=True)
        else:  # before others can take the lock
            owner.unlink(missing_ok=True)
            os.close(file)


def _remove_leftovers(out: Path) -> None:
    """Remove what killed runs left of this output; put a former output back if it is the only one.

    A folder without a lock file is of an unknown owner and stays.
    """
    if not out.parent.is_dir():
        return
    for owner in sorted(out.parent.glob(f'.{_escaped(out.name)}.????????{_PARTIAL}{_OWNER}')):
        if _is_held(owner):
            continue
        work = Path(str(owner).removesuffix(_OWNER))
        former = work.with_suffix(_FORMER)
        if former.is_dir() and not out.exists():
            former.rename(out)
            print(f'{out} was put back as it was before a run that was stopped', file=sys.stderr)
        for folder in (work, former):
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)
                print(f'{folder}, which a stopped run left, was removed', file=sys.stderr)
        owner.unlink(missing_ok=True)


def _is_held(owner: Path) -> bool:
    try:
        with owner.open('r+b') as file:
            return not locked(file.fileno())
    except OSError:  # gone by now, or on a file system without locks
        return True


def _escaped(name: str) -> str:
    return ''.join(f'[{letter}]' if letter in '[?*' else letter for letter in name)


def _check_replaceable(out: Path, overwrite: bool, expected: Collection[str]) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(f'output {out} is a file: name a folder')
    content = sorted(entry.name for entry in out.iterdir()) if out.is_dir() else []
    if content and not overwrite:
        raise OutputError(
            f'output folder {out} is not empty: name another one, or add --overwrite to replace it'
        )
    foreign = [name for name in content if name not in expected]
    if foreign:
        raise OutputError(
            f'output folder {out} holds more than a data set ({foreign[0]}), so it is not '
            'replaced: name another one'
        )


def _swap(work: Path, out: Path) -> None:
    """Rename ``work`` to ``out``; keep a former ``out`` until that has succeeded."""
    if not out.exists():
        work.rename(out)
        return
    former = work.with_suffix(_FORMER)
    out.rename(former)
    try:
        work.rename(out)
    except OSError:
        former.rename(out)
        raise
    _sync(out.parent)
    shutil.rmtree(former)


def _sync_tree(root: Path) -> None:
    """Bring files and folders to the disk, many at a time: journals commit them together."""
    folders, files = [], []
    for folder, _, names in os.walk(root):
        folders.append(Path(folder))
        files += [Path(folder, name) for name in names]
    with ThreadPoolExecutor(_SYNCED_AT_ONCE) as pool:
        list(pool.map(_sync, files))
        list(pool.map(_sync, folders))


def _sync(path: Path) -> None:
    with contextlib.suppress(OSError):  # file systems that cannot
        sync(path)
