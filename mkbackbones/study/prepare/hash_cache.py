"""Hashes of data that was read before, in the user's cache folder.

A data set is known by the places, sizes and times of change (to the nanosecond) of its files. What
was changed a moment before it was hashed is not kept: the clock of a file system may be too coarse
to tell a later change.
"""

from __future__ import annotations

import re

from ...caches import is_settled
from .cached_text import keep, recall

__all__ = ['known_hash', 'remember_hash']

HASH = re.compile(r'[0-9a-f]{12}')


def known_hash(listing: str) -> str | None:
    """The hash of data whose listing has this hash; None where it is not known."""
    found = recall('data', listing) or ''
    return found if HASH.fullmatch(found) else None


def remember_hash(listing: str, found: str, last_change: float) -> None:
    """Keep a hash for the next time, where the cache folder can be written.

    Args:
        listing (str): Hash of the listing.
        found (str): Hash of the data.
        last_change (float): When the youngest file changed, in seconds since 1970.
    """
    if is_settled(last_change):
        keep('data', listing, found)
