"""Multi-scale deformable attention (Zhu et al., 2021), with mmcv's compiled signatures.

mmcv calls the extension for CUDA tensors only and has a fallback of its own elsewhere; nothing
here depends on the device. One level at a time keeps the memory at that of the largest level.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import widen


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Sample feature maps at a few points for each query and sum them up with weights.

    Args:
        value (Tensor): Maps of all levels, flattened and concatenated: (B, S, M, D), M heads.
        value_spatial_shapes (Tensor): (L, 2), height and width of each level, int64.
        value_level_start_index (Tensor): (L,), where each level begins along S, int64.
        sampling_locations (Tensor): (B, Q, M, L, P, 2), x and y as fractions of the map's size.
        attention_weights (Tensor): (B, Q, M, L, P).
        im2col_step (int): Unused: images per step; it has no effect on the result.

    Returns:
        Tensor: (B, Q, M * D), in the type of ``value``.
    """
    value_, locations, weights = widen(value, sampling_locations, attention_weights)
    output: Any = 0.0
    for level, start, shape in _levels(value_spatial_shapes, value_level_start_index):
        output = output + _sample_level(
            value_[:, start : start + shape[0] * shape[1]],
            locations[:, :, :, level],
            weights[:, :, :, level],
            shape,
        )
    return output.to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients of value, locations and weights into the three ``grad_`` tensors.

    ``grad_output`` is (B, Q, M * D), and each ``grad_`` tensor has the shape of what it is the
    gradient of. The other arguments are those of :func:`ms_deform_attn_forward`.
    """
    value, locations, weights, grad_output = widen(
        value, sampling_locations, attention_weights, grad_output
    )
    for level, start, shape in _levels(value_spatial_shapes, value_level_start_index):
        part = slice(start, start + shape[0] * shape[1])
        level_parts = value[:, part], locations[:, :, :, level], weights[:, :, :, level]
        leaves = v, p, w = [t.detach().requires_grad_() for t in level_parts]
        with torch.enable_grad():
            output = _sample_level(v, p, w, shape)
        grads = torch.autograd.grad(output, leaves, grad_output)
        grad_value[:, part] = grads[0]
        grad_sampling_loc[:, :, :, level] = grads[1]
        grad_attn_weight[:, :, :, level] = grads[2]


def _levels(shapes: Tensor, starts: Tensor) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Index, first token and (height, width) of each level."""
    # One transfer for all: each .item() of a CUDA tensor would wait for the device.
    for level, (height, width, start) in enumerate(
        torch.cat((shapes, starts[:, None]), 1).tolist()
    ):
        yield level, start, (height, width)


def _sample_level(
    value: Tensor, locations: Tensor, weights: Tensor, shape: tuple[int, int]
) -> Tensor:
    """(B, H * W, M, D), (B, Q, M, P, 2), (B, Q, M, P) to (B, Q, M * D)."""
    batch, _, heads, dim = value.shape
    maps = value.permute(0, 2, 3, 1).reshape(batch * heads, dim, *shape)
    grid = (2 * locations - 1).transpose(1, 2).flatten(0, 1)  # (B * M, Q, P, 2)
    sampled = F.grid_sample(maps, grid, align_corners=False)  # (B * M, D, Q, P)
    weights = weights.transpose(1, 2).flatten(0, 1)[:, None]  # (B * M, 1, Q, P)
    output = (sampled * weights).sum(-1)  # (B * M, D, Q)
    return output.view(batch, heads * dim, -1).transpose(1, 2)
