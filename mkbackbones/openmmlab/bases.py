"""``_base_ = 'mmseg::...'`` with a line whose distributions have other names.

mmengine looks for distributions (mmsegmentation for mmseg), which the maintained line calls
otherwise (onedl-mmsegmentation), and then advises to install the other line over it. The package
that they install is the same, so its own name serves as well.
"""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

__all__ = ['mend_bases']

NAMES = 'mmengine.config.utils'


class Loader(SourceFileLoader):
    """Loads mmengine's table of names, and mends it."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        mend(module)


class Finder(importlib.abc.MetaPathFinder):
    """Waits for mmengine's table of names, once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != NAMES:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader and spec.origin:
            spec.loader = Loader(fullname, spec.origin)
        return spec


def mend_bases() -> None:
    """Let configs name those of installed libraries, whatever their distributions are called.

    mmengine is not imported for it: where it comes later, it is mended then.
    """
    module = sys.modules.get(NAMES)
    if module is not None:
        mend(module)
    elif not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())


def mend(module: ModuleType) -> None:
    """Replace names of distributions that are not there by the name of the package that is."""
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    names: dict[str, str] = getattr(module, 'MODULE2PACKAGE', {})
    for name, distribution in names.items():
        if name == distribution:
            continue
        try:
            version(distribution)
        except PackageNotFoundError:
            try:
                spec = find_spec(name)
            except (ImportError, ValueError):
                continue
            if spec is not None and spec.origin:
                names[name] = name
