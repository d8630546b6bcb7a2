"""CARAFE upsampling (Wang et al., 2019), with the signatures of mmcv's compiled operators.

A pixel of the output is a weighted sum of the k x k pixels around its source pixel. The loops run
over the k * k places of the kernel, so that no k * k-fold copy of the features is made.
"""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor

from .precision import widen


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the upsampled features into ``output``.

    Args:
        features (Tensor): (B, C, H, W).
        masks (Tensor): Weights, (B, group_size * kernel_size ** 2, s * H, s * W).
        output (Tensor): Output, (B, C, s * H, s * W).
        kernel_size (int): k, odd.
        group_size (int): Groups of channels with weights of their own.
        scale_factor (int): s.
    """
    features, masks = widen(features, masks)
    # (B, groups, C / groups, H, s, W, s) and (B, groups, k * k, H, s, W, s)
    result = _cells(features.new_zeros(output.shape), group_size, scale_factor)
    masks = _cells(masks, group_size, scale_factor)
    padded = _pad(features, kernel_size)
    for place, rows, columns in _places(kernel_size, *features.shape[2:]):
        source = padded[:, :, rows, columns].unflatten(1, (group_size, -1))
        result.addcmul_(source[..., None, :, None], masks[:, :, place, None])
    output.copy_(result.reshape(output.shape))


def carafe_naive_backward(
    grad_output: Tensor,
    features: Tensor,
    masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of features and masks into ``grad_input`` and ``grad_masks``.

    The other arguments are those of :func:`carafe_naive_forward`.
    """
    grad_output, features, masks = widen(grad_output, features, masks)
    grad = _cells(grad_output, group_size, scale_factor)
    mask_cells = _cells(masks, group_size, scale_factor)
    grad_mask_cells = _cells(masks.new_empty(masks.shape), group_size, scale_factor)
    padded = _pad(features, kernel_size)
    grad_padded = padded.new_zeros(padded.shape)
    for place, rows, columns in _places(kernel_size, *features.shape[2:]):
        source = padded[:, :, rows, columns].unflatten(1, (group_size, -1))
        grad_mask_cells[:, :, place] = (grad * source[..., None, :, None]).sum(2)
        grad_source = (grad * mask_cells[:, :, place, None]).sum((-3, -1))
        grad_padded[:, :, rows, columns] += grad_source.flatten(1, 2)
    margin = kernel_size // 2
    height, width = features.shape[2:]
    grad_input.copy_(grad_padded[:, :, margin : margin + height, margin : margin + width])
    grad_masks.copy_(grad_mask_cells.reshape(masks.shape))


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Do as :func:`carafe_naive_forward` and keep the features in ``rfeatures``.

    The compiled operator keeps a reordered copy there; mmcv only hands it on to
    :func:`carafe_backward`. ``routput`` and ``rmasks`` are unused.
    """
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Do as :func:`carafe_naive_backward`; the tensors named ``rgrad_`` are unused."""
    carafe_naive_backward(
        grad_output,
        rfeatures,
        masks,
        grad_input,
        grad_masks,
        kernel_size,
        group_size,
        scale_factor,
    )


def _cells(maps: Tensor, groups: int, scale: int) -> Tensor:
    """(B, G * C, s * H, s * W) to (B, G, C, H, s, W, s): the s x s pixels of each source pixel."""
    return maps.unflatten(3, (-1, scale)).unflatten(2, (-1, scale)).unflatten(1, (groups, -1))


def _pad(features: Tensor, kernel_size: int) -> Tensor:
    return F.pad(features, [kernel_size // 2] * 4)


def _places(kernel_size: int, height: int, width: int) -> Iterator[tuple[int, slice, slice]]:
    """Index of each place of the kernel, and the window it sees of the padded features."""
    for row in range(kernel_size):
        for column in range(kernel_size):
            yield (
                row * kernel_size + column,
                slice(row, row + height),
                slice(column, column + width),
            )
