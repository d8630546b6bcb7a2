"""Heads of mmdet that do for a whole batch what upstream does image by image.

mmengine imports this module when a config names a model of scope ``mkbackbones``; without mmdet it
is empty.
"""

from importlib.util import find_spec

__all__: list[str] = []

if find_spec('mmdet') is not None:
    from .rpn_head import BatchedRPNHead

    __all__ += ['BatchedRPNHead']
