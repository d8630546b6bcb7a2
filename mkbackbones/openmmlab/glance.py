"""Whether the installed OpenMMLab gives reason to look closer: quick, at every import."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from .names import MODULES, OWNERS

__all__ = ['is_suspicious', 'warn_of_faults']


def warn_of_faults() -> None:
    """Warn of what may break one day, where the names of installed folders give reason to look.

    Processes that others start, such as those of a data loader, leave it to these.
    """
    processes = sys.modules.get('multiprocessing.process')
    if processes is not None and processes.parent_process() is not None:
        return
    if is_suspicious():
        from .sentences import warn

        warn()


def is_suspicious(path: Iterable[str] | None = None) -> bool:
    """Whether names of folders alone give reason to have a closer look: in a millisecond.

    Args:
        path (Iterable[str] | None): Where to look; None for where Python does.
    """
    found: dict[str, set[str]] = {module: set() for module in OWNERS}
    for place in dict.fromkeys(sys.path if path is None else path):
        try:
            names = os.listdir(place or '.')
        except OSError:  # an archive, or nothing
            continue
        for entry in names:
            if not entry.endswith('.dist-info'):
                continue
            name = entry.partition('-')[0].lower().replace('_', '-')
            module = MODULES.get(name)
            if module is None:
                continue
            found[module].add(name)
            if not os.path.exists(os.path.join(place, module, '__init__.py')):
                return True
    lines = {OWNERS[module][name] for module, names in found.items() for name in names}
    return len(lines) > 1 or any(len(names) > 1 for names in found.values())
