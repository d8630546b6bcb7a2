"""Operators for an mmcv that was installed without its compiled extension.

PyPI's mmcv ships no ``mmcv._ext``, so ``import mmcv.ops`` fails and mmdet and mmseg lose NMS,
RoIAlign, deformable convolution and the rest. :func:`install` lets Python find
:mod:`mkbackbones.ops.extension` under that name: the same functions with the same signatures, on
torchvision and plain PyTorch. All of mmcv's own Python code then works unchanged.
"""

import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Literal

__all__ = ['backend', 'install']

_EXTENSION = 'mmcv._ext'


class _ExtensionFinder(importlib.abc.MetaPathFinder):
    """Serves ``mmcv._ext`` from ``extension.py``.

    It stands last in ``sys.meta_path``: Python asks it only after it has found no extension in
    mmcv's own folder, so a compiled one always wins.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _EXTENSION:
            return None
        return importlib.util.spec_from_file_location(
            fullname, Path(__file__).with_name('extension.py')
        )


_FINDER = _ExtensionFinder()


def backend() -> Literal['compiled', 'torchvision', 'none']:
    """Tell what mmcv's operators run on once :func:`install` was called. Does not import mmcv.

    Returns:
        str: ``'compiled'`` (mmcv has its extension: it is used and nothing is touched),
        ``'torchvision'`` (the operators of this package) or ``'none'`` (no mmcv, or mmcv-lite,
        which has no ``mmcv.ops`` at all).
    """
    try:
        mmcv = importlib.util.find_spec('mmcv')
    except ValueError:  # a stub in sys.modules that has no __spec__
        return 'none'
    folders = list(mmcv.submodule_search_locations or ()) if mmcv else []
    # The very search that `import mmcv._ext` makes: a file built for another Python does not count.
    if PathFinder.find_spec(_EXTENSION, folders):
        return 'compiled'
    try:
        return 'torchvision' if PathFinder.find_spec('mmcv.ops', folders) else 'none'
    except KeyError:  # a folder that was left when its files were deleted
        return 'none'


def install() -> None:
    """Make ``mmcv.ops`` importable where mmcv has no compiled operators; else do nothing.

    Call it as often as you like. Best before mmdet and mmseg are imported; if they came first, the
    placeholders they put in place of the missing operators are replaced.
    """
    if backend() != 'torchvision' or _FINDER in sys.meta_path:
        return
    sys.meta_path.append(_FINDER)
    from .placeholders import replace_placeholders

    replace_placeholders()
