"""Files that commands write."""

from __future__ import annotations

from pathlib import Path

from ..files import why_no_files
from .errors import CommandError

__all__ = ['check_target']


def check_target(path: Path, suffix: str, force: bool) -> None:
    """Raise CommandError, before long work, unless a file may be written.

    Args:
        path (Path): The file.
        suffix (str): How its name has to end, e.g. ``.json``.
        force (bool): Whether one that exists may be replaced.
    """
    if path.suffix != suffix:
        raise CommandError(f'{path} has to end with {suffix}')
    if path.is_dir():
        raise CommandError(f'{path} is a folder; give a file')
    if path.exists() and not force:
        raise CommandError(f'{path} exists; --force replaces it')
    if not path.absolute().parent.is_dir():
        raise CommandError(
            f'there is no folder {path.absolute().parent}; one that does not exist is not made'
        )
    if reason := why_no_files(path.absolute().parent):
        raise CommandError(f'{path} cannot be written: its folder takes no files ({reason})')
