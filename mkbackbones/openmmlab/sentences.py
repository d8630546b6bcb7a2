"""Faults of the installation told: as warnings, and in place of an import's traceback."""

from __future__ import annotations

import re
import sys
import warnings
from importlib.util import find_spec

from ..packages import PACKAGES, pip_install
from .distributions import look
from .faults import Fault, fault_of, find_faults
from .names import MODULES, OWNERS

__all__ = ['explain', 'tell_faults', 'warn']

_told: set[str] = set()


def warn() -> None:
    """Warn of what is wrong, once, where the package is imported."""
    for fault in find_faults(look()):
        if is_new(fault):
            warnings.warn(str(fault), stacklevel=4)


def tell_faults() -> None:
    """Tell on standard error what is wrong, once, but for libraries that are missing.

    Not everybody needs each of them: see :func:`explain`.
    """
    for fault in find_faults(look(thorough=True)):
        if fault.kind != 'missing' and is_new(fault):
            print(f'warning: {fault}', file=sys.stderr)


def is_new(fault: Fault) -> bool:
    """Whether a fault was not told in this process; from now on it was."""
    if fault.command in _told:
        return False
    _told.add(fault.command)
    return True


def explain(error: BaseException) -> str | None:
    """A sentence for an import that failed, with the command that mends it.

    Args:
        error (BaseException): What was raised.

    Returns:
        str | None: None where it is no failed import, or one of something else.
    """
    if not isinstance(error, ImportError):
        return None
    if 'pip install' in str(error):  # one of ours, told on the way
        return str(error)
    # mmengine's word for what `_base_ = 'mmseg::...'` names; it may be of the other line.
    asked = re.match(r'(\S+) is not installed, please install', str(error))
    name = MODULES.get(asked.group(1)) if asked else error.name
    if not name:
        return None
    root = name.partition('.')[0]
    if root in OWNERS:
        fault = fault_of(root)
        return str(fault) if fault else broken(root, error)
    if root not in PACKAGES:
        return None
    try:
        is_there = find_spec(root) is not None
    except (ImportError, ValueError):
        is_there = False
    if is_there:
        return broken(root, error)
    return f'{root} is not installed: {pip_install(root)}'


def broken(root: str, error: ImportError) -> str:
    """Tell of a library that is there and cannot be imported."""
    reason = ' '.join(str(error).split())
    return f'{root} cannot be imported ({reason}): python -m mkbackbones doctor tells more'
