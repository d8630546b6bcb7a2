"""Heads of mmdet that do for a whole batch what upstream does image by image.

mmengine imports this module when a config names a model of scope ``mkbackbones``, a backbone of a
segmentor too: mmdet is imported when one of these is built.
"""

from typing import TYPE_CHECKING, Any

from ..registry import MODELS

if TYPE_CHECKING:
    from .roi_head import BatchedRoIHead
    from .rpn_head import BatchedRPNHead

__all__ = ['batched_roi_head', 'batched_rpn_head']


@MODELS.register_module(name='BatchedRPNHead')
def batched_rpn_head(*args: Any, **kwargs: Any) -> 'BatchedRPNHead':
    """Build ``type='mkbackbones.BatchedRPNHead'``; arguments as of mmdet's ``RPNHead``."""
    from .rpn_head import BatchedRPNHead

    return BatchedRPNHead(*args, **kwargs)


@MODELS.register_module(name='BatchedRoIHead')
def batched_roi_head(*args: Any, **kwargs: Any) -> 'BatchedRoIHead':
    """Build ``type='mkbackbones.BatchedRoIHead'``; arguments as of mmdet's ``StandardRoIHead``."""
    from .roi_head import BatchedRoIHead

    return BatchedRoIHead(*args, **kwargs)
