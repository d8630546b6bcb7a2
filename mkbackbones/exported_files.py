"""How files of ``export`` are named, without what it takes to write or to run them."""

from __future__ import annotations

import os

__all__ = ['ONNX', 'PROGRAM', 'SUFFIXES', 'is_exported']

ONNX = '.onnx'
#: Of a program of ``torch.export``.
PROGRAM = '.pt2'
SUFFIXES = (ONNX, PROGRAM)


def is_exported(path: str | os.PathLike) -> bool:
    """Whether a file is one that ``export`` has written, and no checkpoint, by its name.

    Args:
        path (str | PathLike): The file.
    """
    return os.fspath(path).endswith(SUFFIXES)
