"""LayerNorm fused with what surrounds it: the residual sum before, windows on either side.

Two operators, each one pass over memory; plain PyTorch takes five to ten passes for the same:

- :func:`window_norm`: LayerNorm, pad, roll, partition.
- :func:`merge_norm`: stochastic depth, residual sum, LayerNorm; with merge, unroll, crop before, or
  pad, roll, partition behind.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, overload

import torch
from torch import Tensor

from ..compat.operators import custom_op
from .geometry import Geometry
from .launch import block_size, ceil_div, differentiable, launch, num_groups
from .norm_kernels import norm_backward, norm_forward

#: Values that a program holds of each tensor, and its warps.
VALUES = 2048
WARPS = 4
#: Programs of the backward kernel for each multiprocessor; each sums up its own weight gradients.
BACKWARD_PROGRAMS = 8


@lru_cache(1024)
def plan(
    shape: torch.Size, geometry: Geometry, merge: bool, scaled: bool, partition: bool
) -> tuple[tuple[int, ...], int, dict]:
    """For tokens of a shape: the kernels' sizes, the number of blocks, compile-time arguments."""
    height, width, window, shift = geometry
    padded = geometry.padded
    channels = shape[-1]
    num_rows, num_tokens = shape[0] * padded[0] * padded[1], math.prod(shape[:-1])
    block = block_size(channels)
    rows = max(VALUES // block, 1)
    constants = dict(
        C=channels,
        BLOCK=block,
        ROWS=rows,
        WINDOW=window,
        MERGE=merge,
        SCALED=scaled,
        PARTITION=partition,
        num_warps=WARPS,
    )
    sizes = num_rows, num_tokens, height, width, *padded, shift
    return sizes, ceil_div(num_rows, rows), constants


@overload
def run_forward(
    x: Tensor,
    branch: Tensor,
    scale: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    geometry: Geometry,
    partition: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]: ...
@overload
def run_forward(
    x: Tensor,
    branch: None,
    scale: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    geometry: Geometry,
    partition: bool,
    dtype: torch.dtype,
) -> tuple[None, Tensor, Tensor]: ...
def run_forward(
    x: Tensor,
    branch: Tensor | None,
    scale: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    geometry: Geometry,
    partition: bool,
    dtype: torch.dtype,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Launch the forward kernel.

    Args:
        x (Tensor): Residual stream (B, H, W, C), or (B, N, C) without windows; contiguous.
        branch (Tensor, optional): What is added to it first: windows (B nW, w^2, C), or tokens as
            ``x`` with ``partition``; contiguous.
        scale (Tensor, optional): What each image's branch is multiplied by (B,), float32.
        weight (Tensor): Of the norm (C,).
        bias (Tensor): Of the norm (C,).
        eps (float): Of the norm.
        geometry (Geometry): The grid of the tokens and its windows.
        partition (bool): Whether ``y`` comes in windows, padded with zeros.
        dtype (torch.dtype): Type of ``y``.

    Returns:
        tuple: The sum as ``x``, None without a branch; ``y``, the norm of it, as ``x`` or windows
        (B nW, w^2, C); mean and reciprocal deviation of each token (2, B, H, W), float32.
    """
    total = None if branch is None else torch.empty_like(x)
    shape = geometry.window_shape(x.shape) if partition else x.shape
    y = x.new_empty(shape, dtype=dtype)
    stats = x.new_empty(2, *x.shape[:-1], dtype=torch.float32)
    sizes, num_blocks, constants = plan(
        x.shape, geometry, branch is not None, scale is not None, partition
    )
    launch(
        norm_forward,
        (num_blocks,),
        [x, branch, scale, weight, bias, total, y, stats, *sizes, eps],
        constants,
    )
    return total, y, stats


@overload
def run_backward(
    x: Tensor,
    dy: Tensor,
    dtotal: Tensor,
    scale: Tensor | None,
    weight: Tensor,
    stats: Tensor,
    geometry: Geometry,
    partition: bool,
) -> tuple[Tensor, Tensor, Tensor]: ...
@overload
def run_backward(
    x: Tensor,
    dy: Tensor,
    dtotal: None,
    scale: Tensor | None,
    weight: Tensor,
    stats: Tensor,
    geometry: Geometry,
    partition: bool,
) -> tuple[Tensor, None, Tensor]: ...
def run_backward(
    x: Tensor,
    dy: Tensor,
    dtotal: Tensor | None,
    scale: Tensor | None,
    weight: Tensor,
    stats: Tensor,
    geometry: Geometry,
    partition: bool,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Launch the backward kernel.

    Args:
        x (Tensor): What was normalised (B, H, W, C), or (B, N, C) without windows; contiguous.
        dy (Tensor): Gradient of its norm, as ``x`` or, with ``partition``, windows (B nW, w^2, C).
        dtotal (Tensor, optional): Gradient of the sum that ``x`` is, as ``x``; None without a
            branch.
        scale (Tensor, optional): As in :func:`run_forward`.
        weight (Tensor): Of the norm (C,).
        stats (Tensor): Mean and reciprocal deviation (2, B, H, W), float32.
        geometry (Geometry): As in :func:`run_forward`.
        partition (bool): As in :func:`run_forward`.

    Returns:
        tuple: Gradients of x and the branch (None without one), and of weight and bias (2, C). With
        a branch (3, C), the last of the bias that was added to it.
    """
    dx = torch.empty_like(x)
    dbranch = None
    if dtotal is not None:
        shape = x.shape if partition else geometry.window_shape(x.shape)
        dbranch = x.new_empty(shape, dtype=dy.dtype)
    sizes, num_blocks, constants = plan(
        x.shape, geometry, dtotal is not None, scale is not None, partition
    )
    programs = num_groups(num_blocks, x.device, per_processor=BACKWARD_PROGRAMS)
    rows = 2 if dbranch is None else 3
    dparams = x.new_empty(programs, rows, x.shape[-1], dtype=torch.float32)
    launch(
        norm_backward,
        (programs,),
        [x, dy, dtotal, scale, weight, stats, dx, dbranch, dparams, *sizes, num_blocks],
        constants,
    )
    return dx, dbranch, dparams.sum(0).to(weight.dtype)


def window_norm_forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    height: int,
    width: int,
    window: int,
    shift: int,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    geometry = Geometry(height, width, window, shift)
    return run_forward(x.contiguous(), None, None, weight, bias, eps, geometry, True, dtype)[1:]


window_norm_forward_op = custom_op('mkbackbones::window_norm')(window_norm_forward)


@window_norm_forward_op.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    height: int,
    width: int,
    window: int,
    shift: int,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    y = x.new_empty(Geometry(height, width, window, shift).window_shape(x.shape), dtype=dtype)
    return y, x.new_empty(2, *x.shape[:-1], dtype=torch.float32)


def window_norm_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    stats: Tensor,
    height: int,
    width: int,
    window: int,
    shift: int,
) -> tuple[Tensor, Tensor]:
    geometry = Geometry(height, width, window, shift)
    dx, _, dparams = run_backward(
        x.contiguous(), dy.contiguous(), None, None, weight, stats, geometry, True
    )
    return dx, dparams


window_norm_backward_op = custom_op('mkbackbones::window_norm_backward')(window_norm_backward)


@window_norm_backward_op.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    stats: Tensor,
    height: int,
    width: int,
    window: int,
    shift: int,
) -> tuple[Tensor, Tensor]:
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    return dx, weight.new_empty(2, *weight.shape)


def window_norm_setup(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    x, weight, _, _, *geometry, _ = inputs
    _, stats = output
    ctx.set_materialize_grads(False)  # none for the statistics, rather than zeros
    ctx.save_for_backward(x, weight, stats)
    ctx.geometry = geometry
    ctx.mark_non_differentiable(stats)


def window_norm_gradients(
    backward: Callable, ctx: Any, dy: Tensor, *unused: Tensor | None
) -> tuple[Tensor | None, ...]:
    dx, dparams = backward(dy, *ctx.saved_tensors, *ctx.geometry)
    return dx, *dparams.unbind(0), None, None, None, None, None, None


normed_windows = differentiable(
    window_norm_forward_op,
    window_norm_forward,
    window_norm_backward_op,
    window_norm_backward,
    window_norm_setup,
    window_norm_gradients,
)


def merge_norm_forward(
    x: Tensor,
    branch: Tensor,
    scale: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    height: int,
    width: int,
    window: int,
    shift: int,
    partition: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    x, branch = x.contiguous(), branch.contiguous()
    geometry = Geometry(height, width, window, shift)
    return run_forward(x, branch, scale, weight, bias, eps, geometry, partition, dtype)


merge_norm_forward_op = custom_op('mkbackbones::merge_norm')(merge_norm_forward)


@merge_norm_forward_op.register_fake
def _(
    x: Tensor,
    branch: Tensor,
    scale: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    height: int,
    width: int,
    window: int,
    shift: int,
    partition: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    total = torch.empty_like(x, memory_format=torch.contiguous_format)
    shape = Geometry(height, width, window, shift).window_shape(x.shape) if partition else x.shape
    stats = x.new_empty(2, *x.shape[:-1], dtype=torch.float32)
    return total, x.new_empty(shape, dtype=dtype), stats


def merge_norm_backward(
    dtotal: Tensor,
    dy: Tensor,
    total: Tensor,
    scale: Tensor | None,
    weight: Tensor,
    stats: Tensor,
    height: int,
    width: int,
    window: int,
    shift: int,
    partition: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    dy, dtotal = dy.contiguous(), dtotal.contiguous()
    geometry = Geometry(height, width, window, shift)
    return run_backward(total, dy, dtotal, scale, weight, stats, geometry, partition)


merge_norm_backward_op = custom_op('mkbackbones::merge_norm_backward')(merge_norm_backward)


@merge_norm_backward_op.register_fake
def _(
    dtotal: Tensor,
    dy: Tensor,
    total: Tensor,
    scale: Tensor | None,
    weight: Tensor,
    stats: Tensor,
    height: int,
    width: int,
    window: int,
    shift: int,
    partition: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    geometry = Geometry(height, width, window, shift)
    shape = total.shape if partition else geometry.window_shape(total.shape)
    return torch.empty_like(total), dy.new_empty(shape), weight.new_empty(3, *weight.shape)


def merge_norm_setup(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, branch, scale, weight, _, _, *place, _ = inputs
    total, y, stats = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(total, scale, weight, stats)
    ctx.place = place
    ctx.branch = branch.shape, branch.dtype
    ctx.y = y.shape, y.dtype
    ctx.mark_non_differentiable(stats)


def merge_norm_gradients(
    backward: Callable,
    ctx: Any,
    dtotal: Tensor | None,
    dy: Tensor | None,
    *unused: Tensor | None,
) -> tuple[Tensor | None, ...]:
    total, scale, weight, stats = ctx.saved_tensors
    dtotal = torch.zeros_like(total) if dtotal is None else dtotal
    if dy is None:
        shape, dtype = ctx.y
        dy = total.new_zeros(shape, dtype=dtype)
    dx, dbranch, dparams = backward(dtotal, dy, total, scale, weight, stats, *ctx.place)
    dweight, dbias, _ = dparams.unbind(0)
    shape, dtype = ctx.branch
    dbranch = dbranch.view(shape).to(dtype)
    return dx, dbranch, None, dweight, dbias, *[None] * 7


merged_norm = differentiable(
    merge_norm_forward_op,
    merge_norm_forward,
    merge_norm_backward_op,
    merge_norm_backward,
    merge_norm_setup,
    merge_norm_gradients,
)


def window_norm(
    x: Tensor, norm: torch.nn.LayerNorm, geometry: Geometry, dtype: torch.dtype
) -> Tensor:
    """LayerNorm, then windows of the shifted and padded grid.

    Args:
        x (Tensor): Tokens (B, H, W, C), or (B, N, C) with a window of 0.
        norm (nn.LayerNorm): The norm; padding is added behind it, as zeros.
        geometry (Geometry): The grid of the tokens and its windows.
        dtype (torch.dtype): Type of the result.

    Returns:
        Tensor: Windows (B nW, w^2, C), or tokens of the shape of ``x`` with a window of 0.
    """
    return normed_windows(x, norm.weight, norm.bias, norm.eps, *geometry, dtype)[0]


def layer_norm(x: Tensor, norm: torch.nn.LayerNorm, dtype: torch.dtype) -> Tensor:
    """LayerNorm of tokens (..., C), the result in a type of its own."""
    tokens = x.reshape(1, -1, x.shape[-1])
    return window_norm(tokens, norm, Geometry(1, tokens.shape[1]), dtype).view(x.shape)


def merge_norm(
    x: Tensor,
    branch: Tensor,
    scale: Tensor | None,
    norm: torch.nn.LayerNorm,
    geometry: Geometry,
    dtype: torch.dtype,
    partition: bool = False,
) -> tuple[Tensor, Tensor]:
    """Add a branch to the residual stream, and normalise the sum.

    Args:
        x (Tensor): Residual stream (B, H, W, C), or (B, N, C) with a window of 0.
        branch (Tensor): Windows (B nW, w^2, C) of the shifted and padded grid, which are merged;
            with ``partition`` tokens, as ``x``.
        scale (Tensor, optional): What each image's branch is multiplied by (B,), float32.
        norm (nn.LayerNorm): The norm.
        geometry (Geometry): As in :func:`window_norm`.
        dtype (torch.dtype): Type of the normalised tokens.
        partition (bool): Cut the normalised tokens into windows, as :func:`window_norm` does.

    Returns:
        tuple[Tensor, Tensor]: The sum, of the shape and type of ``x``, and its normalisation.
    """
    place = (*geometry, partition, dtype)
    return merged_norm(x, branch, scale, norm.weight, norm.bias, norm.eps, *place)[:2]
