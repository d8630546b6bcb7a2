"""Mend mmdet and mmseg modules that were imported while mmcv had no operators.

onedl-mmdet and onedl-mmseg import operators in a ``try`` and go on without: mmdet binds a
placeholder that raises ('roi_align requires mmcv to be compiled with ops ...') and mmseg binds
None. Once ``mmcv.ops`` can be imported, the names are bound to the operators themselves.
"""

import sys
import warnings
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

_NONE_IN_MMSEG = ('CrissCrossAttention', 'PSAMask', '_sigmoid_focal_loss', 'point_sample')


def replace_placeholders() -> None:
    """Bind the operators where mmdet and mmseg modules in memory hold placeholders."""
    found = list(_placeholders())
    if not found:
        return
    import mmcv.ops
    import mmcv.ops.merge_cells

    for module, name in found:
        operator = getattr(mmcv.ops, name.lstrip('_'), None)
        operator = operator or getattr(mmcv.ops.merge_cells, name, None)
        if operator is not None:
            setattr(module, name, operator)
    # What mmseg builds upon mmdet's heads cannot be mended: the base class itself is missing.
    if any(module.__name__.startswith('mmseg.models') for module, _ in found):
        warnings.warn(
            'mmseg.models was imported before mkbackbones, when mmcv had no operators: its '
            'MaskFormer, Mask2Former and SAN heads do not work in this process. Import '
            'mkbackbones first.',
            stacklevel=3,
        )


def _placeholders() -> Iterator[tuple[ModuleType, str]]:
    for path, module in sorted(sys.modules.items()):
        if path.partition('.')[0] not in ('mmdet', 'mmseg') or module is None:
            continue
        for name, value in vars(module).items():
            if _raises(value) or (value is None and name in _NONE_IN_MMSEG):
                yield module, name


def _raises(value: Any) -> bool:
    """Whether it is a function, or a class with an ``__init__``, that asks for compiled mmcv."""
    function = vars(value).get('__init__') if isinstance(value, type) else value
    return isinstance(function, FunctionType) and any(
        isinstance(constant, str) and 'requires mmcv to be compiled' in constant
        for constant in function.__code__.co_consts
    )
