"""OpenCV, imported when something of it is first used, and missing in a sentence.

No distribution is required for it: OpenMMLab brings opencv-python, servers want the build without a
display, and the two unpack into the same folder. Use as ``from .. import opencv as cv2``.
"""

from __future__ import annotations

import importlib
from typing import Any

from .packages import pip_install, pip_reinstall

__all__ = ['load']


def load() -> Any:
    """Import OpenCV.

    Raises:
        ImportError: It is missing or cannot be imported, with the command that mends it.
    """
    try:
        return importlib.import_module('cv2')
    except ModuleNotFoundError as error:
        if error.name != 'cv2':
            raise
        raise ImportError(
            f'OpenCV (cv2) is not installed: python -m {pip_install("cv2")}', name='cv2'
        ) from error
    except ImportError as error:
        raise ImportError(
            f'OpenCV cannot be imported ({error}); install its build without a display: python -m '
            f'{pip_reinstall("cv2")}',
            name='cv2',
        ) from error


def __getattr__(name: str) -> Any:
    if name.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(load(), name)
    globals()[name] = value
    return value
