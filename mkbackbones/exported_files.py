"""How files of ``export`` are named, without what it takes to write or to run them."""

from __future__ import annotations

import os
import zipfile

__all__ = ['NOTES', 'ONNX', 'PROGRAM', 'SUFFIXES', 'check_notes', 'is_exported', 'is_program']

ONNX = '.onnx'
#: Of a program of ``torch.export``.
PROGRAM = '.pt2'
SUFFIXES = (ONNX, PROGRAM)
#: Name of the notes within the archive that a program is.
NOTES = 'notes.json'


def is_exported(path: str | os.PathLike) -> bool:
    """Whether a file is one that ``export`` has written, and no checkpoint, by its name.

    Args:
        path (str | PathLike): The file.
    """
    return os.fspath(path).lower().endswith(SUFFIXES)


def is_program(path: str | os.PathLike) -> bool:
    """Whether a file is a program of ``torch.export``, by its name.

    Args:
        path (str | PathLike): The file.
    """
    return os.fspath(path).lower().endswith(PROGRAM)


def check_notes(path: str | os.PathLike) -> None:
    """Raise ValueError unless a program has notes; torch says of others what tells nobody much.

    Args:
        path (str | PathLike): The file.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith(f'/{NOTES}') for name in archive.namelist()):
                return
    raise ValueError(f'it has no {NOTES}, which export writes into programs')
