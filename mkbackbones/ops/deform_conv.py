"""Deformable convolutions on torchvision's kernels, with the signatures of mmcv's operators.

Offsets are (B, 2 * deformable_group * kH * kW, H', W'), in pixels, y before x; masks have one
channel where offsets have two. Both libraries agree on that layout.
"""

import math
from collections.abc import Sequence

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor

from .precision import widen


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Write the deformable convolution of ``input`` into ``output``.

    Args:
        input (Tensor): (B, C, H, W).
        weight (Tensor): (C', C / group, kH, kW).
        offset (Tensor): (B, 2 * deformable_group * kH * kW, H', W'), in pixels.
        output (Tensor): Output, (B, C', H', W').
        columns (Tensor): Unused scratch.
        ones (Tensor): Unused scratch.
        kW (int): Width of the kernel; kH its height.
        dW (int): Horizontal stride; dH the vertical one.
        padW (int): Horizontal padding; padH the vertical one.
        dilationW (int): Horizontal dilation; dilationH the vertical one.
        group (int): Groups of the convolution.
        deformable_group (int): Groups of channels with offsets of their own.
        im2col_step (int): Unused: images per step; it has no effect on the result.
    """
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    input, weight, offset = widen(input, weight, offset)
    output.copy_(_forward(input, weight, offset, None, None, geometry))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Write the gradients of input and offset into ``grad_input`` and ``grad_offset``.

    The other arguments are those of :func:`deform_conv_forward`.
    """
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    grads = _backward(grad_output, input, weight, offset, None, None, geometry)
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[2])
    # torchvision has one kernel for all gradients, mmcv asks for the weight's in a second call
    # that gets the same scratch tensor: leave it there, else each step would pay for both twice.
    columns.resize_(weight.shape).copy_(grads[1])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Add ``scale`` times the gradient of the weight to ``grad_weight``.

    ``columns`` holds it already if :func:`deform_conv_backward_input` was called before with the
    same scratch tensor. The other arguments are those of :func:`deform_conv_forward`.
    """
    if columns.shape != grad_weight.shape:
        geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
        weight = torch.zeros_like(grad_weight)  # its gradient does not depend on its value
        columns = _backward(grad_output, input, weight, offset, None, None, geometry)[1]
        grad_weight.add_(columns, alpha=scale)
    else:
        grad_weight.add_(columns, alpha=scale)
        columns.resize_(0)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write the modulated deformable convolution of ``input`` into ``output``.

    Args:
        input (Tensor): (B, C, H, W).
        weight (Tensor): (C', C / group, kernel_h, kernel_w).
        bias (Tensor): (C',); read only if ``with_bias``.
        ones (Tensor): Unused scratch.
        offset (Tensor): (B, 2 * deformable_group * kernel_h * kernel_w, H', W'), in pixels.
        mask (Tensor): (B, deformable_group * kernel_h * kernel_w, H', W').
        output (Tensor): Output, (B, C', H', W').
        columns (Tensor): Unused scratch.
        kernel_h (int): Height of the kernel; kernel_w its width.
        stride_h (int): Vertical stride; stride_w the horizontal one.
        pad_h (int): Vertical padding; pad_w the horizontal one.
        dilation_h (int): Vertical dilation; dilation_w the horizontal one.
        group (int): Groups of the convolution.
        deformable_group (int): Groups of channels with offsets and masks of their own.
        with_bias (bool): Add the bias.
    """
    geometry = (
        stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group,
    )  # fmt: skip
    offset, mask = as_read(offset, mask, weight, deformable_group, output.shape[2:])
    input, weight, offset, mask, bias = widen(input, weight, offset, mask, bias)
    output.copy_(_forward(input, weight, offset, mask, bias if with_bias else None, geometry))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write the gradient of each tensor into its ``grad_`` tensor.

    The other arguments are those of :func:`modulated_deform_conv_forward`.
    """
    geometry = (
        stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group,
    )  # fmt: skip
    read = as_read(offset, mask, weight, deformable_group, grad_output.shape[2:])
    grads = _backward(grad_output, input, weight, *read, bias, geometry)
    for buffer, grad in zip((grad_input, grad_weight), grads):
        buffer.copy_(grad)
    for buffer, grad in zip((grad_offset, grad_mask), grads[2:]):
        if buffer.shape == grad.shape:
            buffer.copy_(grad)
        else:  # what was not read has no gradient
            buffer.zero_().flatten(1)[:, : grad[0].numel()].copy_(grad.flatten(1))
    if with_bias:
        grad_bias.copy_(grads[4])


def as_read(
    offset: Tensor, mask: Tensor, weight: Tensor, deformable_group: int, size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Offset and mask (B, channels, H', W') as mmcv's modulated kernels read them.

    They do not look at their size: they read each image's numbers from the first on, as if both had
    that of the output. mmdet's DyHead gives them offsets of a larger map, and its published weights
    were trained with what is read then.

    Raises:
        ValueError: If there are too few numbers; compiled mmcv reads beyond them.
    """
    places = deformable_group * weight.shape[2] * weight.shape[3]
    read = []
    for field, channels in ((offset, 2 * places), (mask, places)):
        shape = channels, *size
        count = math.prod(shape)
        if field[0].numel() < count:
            raise ValueError(
                f'offsets or masks of shape {tuple(field.shape)} are too small for an output of '
                f'{size[0]}x{size[1]}; they need the shape {(len(field), *shape)}'
            )
        fits = tuple(field.shape[1:]) == shape
        read.append(field if fits else field.flatten(1)[:, :count].reshape(-1, *shape))
    return read[0], read[1]


def _forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: tuple[int, ...],
) -> Tensor:
    """Convolve. ``geometry``: stride, padding, dilation (y, x each), groups, deform groups."""
    return torch.ops.torchvision.deform_conv2d(
        input,
        weight,
        offset,
        input.new_zeros(len(input), 1) if mask is None else mask,
        input.new_zeros(len(weight)) if bias is None else bias,
        *geometry,
        mask is not None,
    )


def _backward(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: tuple[int, ...],
) -> tuple[Tensor, ...]:
    """Gradients of input, weight, offset, mask and bias."""
    grad_output, input, weight, offset = widen(grad_output, input, weight, offset)
    return torch.ops.torchvision._deform_conv2d_backward(
        grad_output,
        input,
        weight,
        offset,
        input.new_zeros(len(input), 1) if mask is None else widen(mask)[0],
        input.new_zeros(len(weight)),  # the value of the bias does not matter, only its shape
        *geometry,
        mask is not None,
    )
