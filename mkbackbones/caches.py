"""The user's cache folder: what can be computed again, bounded in size."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path

__all__ = ['cache_folder', 'is_settled', 'make_room']

#: A file that changed within this time before it was read may change again unseen.
SETTLED_SECONDS = 5.0


def cache_folder() -> Path:
    """Folder for what can be computed again: ``$XDG_CACHE_HOME/mkbackbones`` or its like.

    Raises:
        RuntimeError: The user has no home.
    """
    if sys.platform == 'win32' and os.environ.get('LOCALAPPDATA'):
        return Path(os.environ['LOCALAPPDATA']) / 'mkbackbones'
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mkbackbones'


def is_settled(last_change: float) -> bool:
    """Whether a later change would show in the time of change, which some clocks tell coarsely.

    Args:
        last_change (float): In seconds since 1970.
    """
    return time.time() - last_change >= SETTLED_SECONDS


def make_room(folder: Path, wanted: int, most: int, share: float) -> bool:
    """Remove the files of a folder that were used longest ago, until there is room for another.

    Args:
        folder (Path): Holds files alone, each of them with its last use as its time of change.
        wanted (int): Bytes of the file to come.
        most (int): Bytes that the folder may hold.
        share (float): Of the disk's free space, how much of it the folder may take.

    Returns:
        bool: Whether there is room.
    """
    files = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process makes room, too
            about = path.stat()
            files.append((about.st_mtime_ns, about.st_size, path))
    held = sum(size for _, size, _ in files)
    allowed = min(most, int(share * (shutil.disk_usage(folder).free + held)))
    if wanted > allowed:
        return False
    for _, size, path in sorted(files):
        if held + wanted <= allowed:
            break
        path.unlink(missing_ok=True)
        held -= size
    return True
