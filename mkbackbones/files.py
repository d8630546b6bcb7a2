"""Files that appear whole or not at all."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; it takes the place of ``path`` on success.

    Args:
        path (Path): The file to write or replace; its folder has to exist.

    Yields:
        Path: Where to write. After an error nothing of it is left, and ``path`` is as it was.
    """
    work = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:8]}.partial')
    try:
        yield work
        os.replace(work, path)
    finally:
        work.unlink(missing_ok=True)
