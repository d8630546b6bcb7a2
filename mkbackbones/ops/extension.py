"""The stand-in for mmcv's compiled module: loaded by Python under the name ``mmcv._ext``.

The imports are absolute because its parent package is then mmcv.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import torchvision

from mkbackbones.ops.bbox import bbox_overlaps
from mkbackbones.ops.carafe import (
    carafe_backward,
    carafe_forward,
    carafe_naive_backward,
    carafe_naive_forward,
)
from mkbackbones.ops.deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from mkbackbones.ops.focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from mkbackbones.ops.masked_conv import masked_col2im_forward, masked_im2col_forward
from mkbackbones.ops.missing import not_covered
from mkbackbones.ops.ms_deform_attn import ms_deform_attn_backward, ms_deform_attn_forward
from mkbackbones.ops.nms import nms, nms_match, softnms
from mkbackbones.ops.psa_mask import psamask_backward, psamask_forward
from mkbackbones.ops.roi_align import roi_align_backward, roi_align_forward

__all__ = [
    'bbox_overlaps',
    'carafe_backward',
    'carafe_forward',
    'carafe_naive_backward',
    'carafe_naive_forward',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'masked_col2im_forward',
    'masked_im2col_forward',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_backward',
    'ms_deform_attn_forward',
    'nms',
    'nms_match',
    'psamask_backward',
    'psamask_forward',
    'roi_align_backward',
    'roi_align_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
    'softnms',
]


def get_compiler_version() -> str:
    """What environment reports print as 'MMCV Compiler'."""
    return f'none: mkbackbones on torchvision {torchvision.__version__}'


def get_compiling_cuda_version() -> str:
    """What environment reports print as 'MMCV CUDA Compiler': mmcv's word for a build without."""
    return 'not available'


def __getattr__(name: str) -> Callable[..., NoReturn]:
    # mmcv asserts at import that each operator exists; only a call may fail.
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise not_covered(name)

    missing.__name__ = missing.__qualname__ = name
    return missing
