"""Small texts in the user's cache folder: what was worked out, for the next command."""

from __future__ import annotations

import contextlib

from ...caches import cache_folder, make_room
from ...files import written_aside

__all__ = ['keep', 'recall']

#: Bytes that one kind may take, and the share of the disk's free space.
MOST_BYTES, SHARE = 2**20, 0.01


def recall(kind: str, name: str) -> str | None:
    """What was kept under a name; None where nothing was, or it cannot be read.

    Args:
        kind (str): Folder within the cache folder.
        name (str): File in it.
    """
    try:
        return (cache_folder() / kind / name).read_text(encoding='ascii').strip()
    except (OSError, ValueError, RuntimeError):  # RuntimeError: no home
        return None


def keep(kind: str, name: str, text: str) -> None:
    """Keep a text for the next time, where the cache folder can be written.

    What is oldest of its kind goes when there is no room.
    """
    with contextlib.suppress(OSError, RuntimeError):
        path = cache_folder() / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if make_room(path.parent, len(text), MOST_BYTES, SHARE):
            with written_aside(path, durable=False) as work:
                work.write_text(text, encoding='ascii')
