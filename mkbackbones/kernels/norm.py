"""LayerNorm fused with what surrounds it: window partition before, merging and residual sum after.

Two operators, each one pass over memory; plain PyTorch takes five to ten passes for the same:

- :func:`window_norm`: LayerNorm, pad, roll, partition.
- :func:`merge_norm`: merge, unroll, crop, stochastic depth, residual sum, LayerNorm.
"""

import torch
import triton
from torch import Tensor

from .launch import block_size, differentiable, launch, num_groups
from .norm_kernels import norm_backward, norm_forward

Geometry = tuple[int, int, int, int]  # height, width, window, shift; window 0: rows as they are


def padded_size(geometry: Geometry) -> tuple[int, int]:
    """Rows and columns of the grid padded to whole windows."""
    height, width, window, _ = geometry
    if not window:
        return height, width
    return height + -height % window, width + -width % window


def branch_shape(shape: torch.Size, geometry: Geometry) -> tuple[int, ...]:
    """Shape of the windows of tokens of the given shape; that of the tokens without windows."""
    window = geometry[2]
    if not window:
        return shape
    height, width = padded_size(geometry)
    return shape[0] * (height // window) * (width // window), window**2, shape[-1]


def run_forward(
    x: Tensor,
    branch: Tensor | None,
    scale: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    geometry: Geometry,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Launch the forward kernel: the sum (empty without a branch), y, mean and rstd."""
    height, width, window, shift = geometry
    padded = padded_size(geometry)
    channels = x.shape[-1]
    images = x.shape[0]
    num_rows = images * padded[0] * padded[1]
    total = torch.empty_like(x) if branch is not None else x.new_empty(0)
    if branch is None:
        y = x.new_empty(branch_shape(x.shape, geometry), dtype=dtype)
    else:
        y = torch.empty_like(x, dtype=dtype)
    mean = x.new_empty(x.shape[:-1], dtype=torch.float32)
    rstd = torch.empty_like(mean)
    block = block_size(channels)
    rows = max(2048 // block, 1)
    launch(
        norm_forward,
        (triton.cdiv(num_rows, rows),),
        [
            x,
            branch,
            scale,
            weight,
            bias,
            total,
            y,
            mean,
            rstd,
            num_rows,
            height,
            width,
            *padded,
            shift,
            eps,
        ],
        dict(
            C=channels,
            BLOCK=block,
            ROWS=rows,
            WINDOW=window,
            MERGE=branch is not None,
            SCALED=scale is not None,
            num_warps=4,
        ),
    )
    return total, y, mean, rstd


def run_backward(
    x: Tensor,
    dy: Tensor,
    dtotal: Tensor | None,
    scale: Tensor | None,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    geometry: Geometry,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """Launch the backward kernel: dx, dbranch (empty without a branch), [dweight, dbias]."""
    height, width, window, shift = geometry
    padded = padded_size(geometry)
    channels = x.shape[-1]
    images = x.shape[0]
    num_rows = images * padded[0] * padded[1]
    dx = torch.empty_like(x)
    merge = dtotal is not None
    dbranch = x.new_empty(0)
    if merge:
        dbranch = x.new_empty(branch_shape(x.shape, geometry), dtype=dtype)
    block = block_size(channels)
    rows = max(2048 // block, 1)
    num_blocks = triton.cdiv(num_rows, rows)
    programs = num_groups(num_blocks, x.device, per_processor=8)
    dparams = x.new_empty(programs, 2, channels, dtype=torch.float32)
    launch(
        norm_backward,
        (programs,),
        [
            x,
            dy,
            dtotal,
            scale,
            weight,
            mean,
            rstd,
            dx,
            dbranch,
            dparams,
            num_rows,
            height,
            width,
            *padded,
            shift,
            num_blocks,
        ],
        dict(
            C=channels,
            BLOCK=block,
            ROWS=rows,
            WINDOW=window,
            MERGE=merge,
            SCALED=scale is not None,
            num_warps=4,
        ),
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
) -> tuple[Tensor, Tensor, Tensor]:
    geometry = (height, width, window, shift)
    return run_forward(x.contiguous(), None, None, weight, bias, eps, geometry, dtype)[1:]


window_norm_forward_op = torch.library.custom_op('mkbackbones::window_norm', mutates_args=())(
    window_norm_forward
)


@window_norm_forward_op.register_fake
def _(x, weight, bias, eps, height, width, window, shift, dtype):
    y = x.new_empty(branch_shape(x.shape, (height, width, window, shift)), dtype=dtype)
    mean = x.new_empty(x.shape[:-1], dtype=torch.float32)
    return y, mean, torch.empty_like(mean)


def window_norm_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    height: int,
    width: int,
    window: int,
    shift: int,
) -> tuple[Tensor, Tensor]:
    geometry = (height, width, window, shift)
    dx, _, dparams = run_backward(
        x.contiguous(), dy.contiguous(), None, None, weight, mean, rstd, geometry, dy.dtype
    )
    return dx, dparams


window_norm_backward_op = torch.library.custom_op(
    'mkbackbones::window_norm_backward', mutates_args=()
)(window_norm_backward)


@window_norm_backward_op.register_fake
def _(dy, x, weight, mean, rstd, height, width, window, shift):
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    return dx, weight.new_empty(2, *weight.shape)


def window_norm_setup(ctx, inputs, output):
    x, weight, _, _, *geometry, _ = inputs
    ctx.set_materialize_grads(False)  # none for mean and rstd, rather than zeros
    ctx.save_for_backward(x, weight, *output[1:])
    ctx.geometry = geometry
    ctx.mark_non_differentiable(*output[1:])


def window_norm_gradients(backward, ctx, dy, *unused):
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
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    geometry = (height, width, window, shift)
    return run_forward(
        x.contiguous(), branch.contiguous(), scale, weight, bias, eps, geometry, dtype
    )


merge_norm_forward_op = torch.library.custom_op('mkbackbones::merge_norm', mutates_args=())(
    merge_norm_forward
)


@merge_norm_forward_op.register_fake
def _(x, branch, scale, weight, bias, eps, height, width, window, shift, dtype):
    total = torch.empty_like(x, memory_format=torch.contiguous_format)
    mean = x.new_empty(x.shape[:-1], dtype=torch.float32)
    return total, torch.empty_like(total, dtype=dtype), mean, torch.empty_like(mean)


def merge_norm_backward(
    dtotal: Tensor,
    dy: Tensor,
    total: Tensor,
    scale: Tensor | None,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    height: int,
    width: int,
    window: int,
    shift: int,
) -> tuple[Tensor, Tensor, Tensor]:
    geometry = (height, width, window, shift)
    return run_backward(
        total, dy.contiguous(), dtotal.contiguous(), scale, weight, mean, rstd, geometry, dy.dtype
    )


merge_norm_backward_op = torch.library.custom_op(
    'mkbackbones::merge_norm_backward', mutates_args=()
)(merge_norm_backward)


@merge_norm_backward_op.register_fake
def _(dtotal, dy, total, scale, weight, mean, rstd, height, width, window, shift):
    dbranch = dy.new_empty(branch_shape(total.shape, (height, width, window, shift)))
    return torch.empty_like(total), dbranch, weight.new_empty(2, *weight.shape)


def merge_norm_setup(ctx, inputs, output):
    _, branch, scale, weight, _, _, *geometry, _ = inputs
    total, _, mean, rstd = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(total, scale, weight, mean, rstd)
    ctx.geometry = geometry
    ctx.branch = branch.shape, branch.dtype
    ctx.dtype = inputs[-1]
    ctx.mark_non_differentiable(mean, rstd)


def merge_norm_gradients(backward, ctx, dtotal, dy, *unused):
    total, scale, weight, mean, rstd = ctx.saved_tensors
    dtotal = torch.zeros_like(total) if dtotal is None else dtotal
    dy = torch.zeros_like(total, dtype=ctx.dtype) if dy is None else dy
    dx, dbranch, dparams = backward(dtotal, dy, total, scale, weight, mean, rstd, *ctx.geometry)
    shape, dtype = ctx.branch
    dbranch = dbranch.view(shape).to(dtype)
    return dx, dbranch, None, *dparams.unbind(0), None, None, None, None, None, None


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
        geometry (tuple): Height H, width W, window side w and shift. Window 0: no windows, with
            height 1 and width N.
        dtype (torch.dtype): Type of the result.

    Returns:
        Tensor: Windows (B nW, w^2, C), or tokens of the shape of ``x`` with a window of 0.
    """
    return normed_windows(x, norm.weight, norm.bias, norm.eps, *geometry, dtype)[0]


def merge_norm(
    x: Tensor,
    branch: Tensor,
    scale: Tensor | None,
    norm: torch.nn.LayerNorm,
    geometry: Geometry,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Add a branch, merged from windows, to the residual stream, and normalise the sum.

    Args:
        x (Tensor): Residual stream (B, H, W, C), or (B, N, C) with a window of 0.
        branch (Tensor): Windows (B nW, w^2, C) of the shifted and padded grid, or tokens.
        scale (Tensor, optional): What each image's branch is multiplied by (B,), float32.
        norm (nn.LayerNorm): The norm.
        geometry (tuple): As in :func:`window_norm`.
        dtype (torch.dtype): Type of the normalised tokens.

    Returns:
        tuple[Tensor, Tensor]: The sum, of the shape and type of ``x``, and its normalisation.
    """
    return merged_norm(x, branch, scale, norm.weight, norm.bias, norm.eps, *geometry, dtype)[:2]
