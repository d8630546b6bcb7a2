"""RoIAlign on torchvision's kernels, with the signatures of mmcv's compiled operators."""

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor

from .missing import not_covered
from .precision import widen

_AVERAGE = 1  # mmcv's mode flags: 0 maximum, 1 average


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the features of each region, pooled to a fixed grid, into ``output``.

    Args:
        input (Tensor): Feature map (B, C, H, W).
        rois (Tensor): (K, 5), the index of the image and x1, y1, x2, y2 in pixels of the image.
        output (Tensor): Output, (K, C, aligned_height, aligned_width).
        argmax_y (Tensor): Unused: the maximum's place, for ``pool_mode`` 0.
        argmax_x (Tensor): Unused.
        aligned_height (int): Rows of the grid.
        aligned_width (int): Columns of the grid.
        spatial_scale (float): Size of the feature map over that of the image.
        sampling_ratio (int): Samples along each side of a cell; 0 takes about one a pixel.
        pool_mode (int): 1, the average.
        aligned (bool): Shift by half a pixel, so that pixel centres lie at .5.

    Raises:
        NotImplementedError: If ``pool_mode`` is 0, the maximum.
    """
    if pool_mode != _AVERAGE:
        raise not_covered("roi_align with pool_mode='max' (use pool_mode='avg')")
    input, rois = widen(input, rois)
    output.copy_(
        torch.ops.torchvision.roi_align(
            input,
            rois.to(input),
            spatial_scale,
            aligned_height,
            aligned_width,
            sampling_ratio,
            aligned,
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the feature map into ``grad_input``, (B, C, H, W).

    The other arguments are those of :func:`roi_align_forward`.
    """
    grad_output, rois = widen(grad_output, rois)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad_output,
            rois.to(grad_output),
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )
