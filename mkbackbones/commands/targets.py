"""Files that commands write."""

from __future__ import annotations

from pathlib import Path

from ..files import why_not_written
from .errors import CommandError

__all__ = ['check_target']


def check_target(path: Path, suffix: str | tuple[str, ...], force: bool) -> None:
    """Raise CommandError, before long work, unless a file may be written.

    Args:
        path (Path): The file.
        suffix (str | tuple[str, ...]): How its name has to end, e.g. ``.json``; or one of several.
        force (bool): Whether one that exists may be replaced.
    """
    known = (suffix,) if isinstance(suffix, str) else suffix
    if path.suffix not in known:
        raise CommandError(f'{path} has to end with {" or ".join(known)}')
    if not path.absolute().parent.is_dir():
        raise CommandError(
            f'there is no folder {path.absolute().parent}; one that does not exist is not made'
        )
    if reason := why_not_written(path, force):
        raise CommandError(reason)
