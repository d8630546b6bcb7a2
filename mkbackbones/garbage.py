"""When Python looks for garbage."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ['collected_later', 'uncollected']


@contextlib.contextmanager
def collected_later() -> Iterator[None]:
    """Do not look for garbage while libraries are imported and a program gets ready.

    Next to all that is made then stays; looking through it again and again takes a fifth of the
    time. What is there at the end is not looked through later, either.
    """
    with uncollected():
        try:
            yield
        finally:
            gc.collect()
            gc.freeze()


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Do not look for garbage for a while."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
