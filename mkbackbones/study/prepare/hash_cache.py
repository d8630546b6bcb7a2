"""Hashes of data that was read before, in the user's cache folder.

A data set is known by the places, sizes and times of change (to the nanosecond) of its files. What
was changed a moment before it was hashed is not kept: the clock of a file system may be too coarse
to tell a later change.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

from ...files import written_aside

__all__ = ['cache_folder', 'known_hash', 'remember_hash']

#: A file that changed within this time before the hashing may change again unseen.
SETTLED_SECONDS = 5.0
HASH = re.compile(r'[0-9a-f]{12}')


def cache_folder() -> Path:
    """Folder for what can be computed again: ``$XDG_CACHE_HOME/mkbackbones`` or its like."""
    if sys.platform == 'win32' and os.environ.get('LOCALAPPDATA'):
        return Path(os.environ['LOCALAPPDATA']) / 'mkbackbones'
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mkbackbones'


def known_hash(listing: str) -> str | None:
    """The hash of data whose listing has this hash; None where it is not known."""
    try:
        found = (cache_folder() / 'data' / listing).read_text(encoding='ascii').strip()
    except (OSError, ValueError, RuntimeError):  # RuntimeError: no home
        return None
    return found if HASH.fullmatch(found) else None


def remember_hash(listing: str, found: str, last_change: float) -> None:
    """Keep a hash for the next time, where the cache folder can be written.

    Args:
        listing (str): Hash of the listing.
        found (str): Hash of the data.
        last_change (float): When the youngest file changed, in seconds since 1970.
    """
    if time.time() - last_change < SETTLED_SECONDS:
        return
    try:
        path = cache_folder() / 'data' / listing
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path, durable=False) as work:
            work.write_text(found, encoding='ascii')
    except (OSError, RuntimeError):
        pass
