"""What is wrong with an installation, each with the command that mends it."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from typing import Any

from ..openmmlab.distributions import Library
from ..openmmlab.faults import fault_of, find_faults
from ..openmmlab.names import OWNERS
from ..packages import pip_install, pip_reinstall
from .probe import LIBRARIES

__all__ = ['find_wrong']


def find_wrong(
    libraries: Mapping[str, Library], tried: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, str | None]]:
    """Say what is wrong.

    Args:
        libraries (Mapping[str, Library]): OpenMMLab as it is installed.
        tried (Mapping[str, Mapping[str, Any]]): What came of imports, by module.

    Returns:
        list[dict[str, str | None]]: Sentences under ``what``, commands under ``command``.
    """
    faults = find_faults(libraries)
    found: list[dict[str, str | None]] = [
        {'what': fault.sentence, 'command': fault.command} for fault in faults
    ]
    found += unmet()
    failed: dict[str, str] = {}
    for name in LIBRARIES:
        error = tried.get(name, {}).get('error')
        if error is None or (name == 'triton' and 'No module named' in error):
            continue
        missing = re.search(r"No module named '(\w+)", error)
        # What a broken library breaks in turn is told once.
        follows = error in failed.values() or (missing and missing.group(1) in failed)
        failed[name] = error
        if follows:
            continue
        if name in OWNERS:
            fault = fault_of(name, libraries)
            # Not everybody needs each of the libraries; what is wrong with others was told.
            if fault is not None:
                continue
        elif missing and missing.group(1) == name:
            found.append({'what': f'{name} is not installed', 'command': pip_install(name)})
            continue
        command = None if name in OWNERS else pip_reinstall(name)
        found.append({'what': f'{name} cannot be imported ({error})', 'command': command})
    error = tried.get('operators', {}).get('error')
    if error and not failed:
        found.append({'what': f"mmcv's operators cannot be imported ({error})", 'command': None})
    return found


def unmet() -> list[dict[str, str | None]]:
    """Requirements of the package, as it was installed, that are not met."""
    try:
        from packaging.requirements import Requirement

        requirements = [
            Requirement(text) for text in importlib.metadata.requires('mkbackbones') or ()
        ]
    except Exception:  # run from a checkout; packaging is missing, or the metadata broken
        return []
    found: list[dict[str, str | None]] = []
    for requirement in requirements:
        if requirement.marker is not None:  # an extra
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except Exception:
            version = None
        if version is None and requirement.name in LIBRARIES:
            continue  # told by its import
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wanted = f'{requirement.name}{requirement.specifier}'
            has = f'{version} is installed' if version else 'it is missing'
            what = f'mkbackbones needs {wanted}, and {has}'
            found.append({'what': what, 'command': f"pip install '{wanted}'"})
    return found
