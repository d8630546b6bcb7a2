"""Heads of mmdet that do for a whole batch what upstream does image by image.

mmengine imports this module when a config names a model of scope ``mkbackbones``, a backbone of a
segmentor too: mmdet is imported when one of these is built.
"""

from typing import TYPE_CHECKING, Any

from ..registry import MODELS

if TYPE_CHECKING:
    from .rpn_head import BatchedRPNHead

__all__ = ['batched_rpn_head']


@MODELS.register_module(name='BatchedRPNHead')
def batched_rpn_head(*args: Any, **kwargs: Any) -> 'BatchedRPNHead':
    """Build ``type='mkbackbones.BatchedRPNHead'``; arguments as of mmdet's ``RPNHead``."""
    from .rpn_head import BatchedRPNHead

    return BatchedRPNHead(*args, **kwargs)
