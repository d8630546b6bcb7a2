"""Files that appear whole or not at all."""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
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
        os.replace(work, path)
        if durable:
            sync(path.parent)
    finally:
        work.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    File systems that cannot do so for a folder are left alone: the rename itself is done.
    """
    is_folder = path.is_dir()
    try:
        # Windows asks for a handle that may write, and others for none.
        handle = os.open(path, os.O_RDWR if os.name == 'nt' else os.O_RDONLY)
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
