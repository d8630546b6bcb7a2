"""LayerNorm fused with what surrounds it: window partition before, merging and residual sum after.

Two operators, each one pass over memory; plain PyTorch takes five to ten passes for the same:

- :func:`window_norm`: LayerNorm, pad, roll, partition.
- :func:`merge_norm`: merge, unroll, crop, stochastic depth, residual sum, LayerNorm.

Every kernel walks over the rows of the windows, padding included, and finds for each the token of
the grid that it came from.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import block_size, differentiable, launch, num_groups

Geometry = tuple[int, int, int, int]  # height, width, window, shift; window 0: rows as they are

SIZES = ['num_rows', 'height', 'width', 'padded_height', 'padded_width', 'shift']


@triton.jit
def source_tokens(rows, height, width, padded_height, padded_width, shift, WINDOW: tl.constexpr):
    """Tokens of the grid that window rows came from, and whether there is one (no padding)."""
    if WINDOW == 0:
        return rows, rows >= 0
    per_image = padded_height * padded_width
    columns = padded_width // WINDOW
    image = rows // per_image
    window = (rows % per_image) // (WINDOW * WINDOW)
    cell = rows % (WINDOW * WINDOW)
    y = (window // columns) * WINDOW + cell // WINDOW + shift
    x = (window % columns) * WINDOW + cell % WINDOW + shift
    y = tl.where(y >= padded_height, y - padded_height, y)
    x = tl.where(x >= padded_width, x - padded_width, x)
    return (image * height + y) * width + x, (y < height) & (x < width)


@triton.jit(do_not_specialize=SIZES)
def norm_forward(
    x_ptr,
    branch_ptr,
    scale_ptr,
    weight_ptr,
    bias_ptr,
    total_ptr,
    y_ptr,
    mean_ptr,
    rstd_ptr,
    num_rows,
    height,
    width,
    padded_height,
    padded_width,
    shift,
    eps,
    C: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    WINDOW: tl.constexpr,
    MERGE: tl.constexpr,
    SCALED: tl.constexpr,
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    tokens, real = source_tokens(rows, height, width, padded_height, padded_width, shift, WINDOW)
    known = rows < num_rows
    real = real & known
    channels = tl.arange(0, BLOCK)
    inside = (channels < C)[None, :]
    at_token = tokens.to(tl.int64)[:, None] * C + channels[None, :]
    at_row = rows.to(tl.int64)[:, None] * C + channels[None, :]
    x = tl.load(x_ptr + at_token, mask=real[:, None] & inside, other=0.0).to(tl.float32)
    if MERGE:
        branch = tl.load(branch_ptr + at_row, mask=real[:, None] & inside, other=0.0)
        branch = branch.to(tl.float32)
        if SCALED:
            scale = tl.load(scale_ptr + tokens // (height * width), mask=real, other=0.0)
            branch *= scale[:, None]
        rounded = (x + branch).to(total_ptr.dtype.element_ty)
        tl.store(total_ptr + at_token, rounded, mask=real[:, None] & inside)
        x = rounded.to(tl.float32)
    mean = tl.sum(x, axis=1) / C
    centred = tl.where(inside, x - mean[:, None], 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=1) / C + eps)
    weight = tl.load(weight_ptr + channels, mask=channels < C, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + channels, mask=channels < C, other=0.0).to(tl.float32)
    y = centred * rstd[:, None] * weight[None, :] + bias[None, :]
    if MERGE:
        tl.store(y_ptr + at_token, y.to(y_ptr.dtype.element_ty), mask=real[:, None] & inside)
    else:
        y = tl.where(real[:, None], y, 0.0)  # padding is zero behind the norm
        tl.store(y_ptr + at_row, y.to(y_ptr.dtype.element_ty), mask=known[:, None] & inside)
    tl.store(mean_ptr + tokens, mean, mask=real)
    tl.store(rstd_ptr + tokens, rstd, mask=real)


@triton.jit(do_not_specialize=[*SIZES, 'num_blocks'])
def norm_backward(
    x_ptr,
    dy_ptr,
    dtotal_ptr,
    scale_ptr,
    weight_ptr,
    mean_ptr,
    rstd_ptr,
    dx_ptr,
    dbranch_ptr,
    dparams_ptr,
    num_rows,
    height,
    width,
    padded_height,
    padded_width,
    shift,
    num_blocks,
    C: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    WINDOW: tl.constexpr,
    MERGE: tl.constexpr,
    SCALED: tl.constexpr,
):
    channels = tl.arange(0, BLOCK)
    inside = (channels < C)[None, :]
    weight = tl.load(weight_ptr + channels, mask=channels < C, other=0.0).to(tl.float32)
    dweight = tl.zeros([ROWS, BLOCK], tl.float32)
    dbias = tl.zeros([ROWS, BLOCK], tl.float32)
    for block in range(tl.program_id(0), num_blocks, tl.num_programs(0)):
        rows = block * ROWS + tl.arange(0, ROWS)
        tokens, real = source_tokens(
            rows, height, width, padded_height, padded_width, shift, WINDOW
        )
        known = rows < num_rows
        real = real & known
        mask = real[:, None] & inside
        at_token = tokens.to(tl.int64)[:, None] * C + channels[None, :]
        at_row = rows.to(tl.int64)[:, None] * C + channels[None, :]
        x = tl.load(x_ptr + at_token, mask=mask, other=0.0).to(tl.float32)
        if MERGE:
            dy = tl.load(dy_ptr + at_token, mask=mask, other=0.0).to(tl.float32)
        else:
            dy = tl.load(dy_ptr + at_row, mask=mask, other=0.0).to(tl.float32)
        mean = tl.load(mean_ptr + tokens, mask=real, other=0.0)
        rstd = tl.load(rstd_ptr + tokens, mask=real, other=0.0)
        normed = tl.where(mask, (x - mean[:, None]) * rstd[:, None], 0.0)
        dweight += dy * normed
        dbias += dy
        dnormed = dy * weight[None, :]
        along_one = tl.sum(dnormed, axis=1) / C
        along_x = tl.sum(dnormed * normed, axis=1) / C
        dx = (dnormed - along_one[:, None] - normed * along_x[:, None]) * rstd[:, None]
        if MERGE:
            dx += tl.load(dtotal_ptr + at_token, mask=mask, other=0.0).to(tl.float32)
        tl.store(dx_ptr + at_token, dx.to(dx_ptr.dtype.element_ty), mask=mask)
        if MERGE:
            if SCALED:
                scale = tl.load(scale_ptr + tokens // (height * width), mask=real, other=0.0)
                dx *= scale[:, None]
            dx = tl.where(mask, dx, 0.0)  # cropped padding gets no gradient
            to = dbranch_ptr.dtype.element_ty
            tl.store(dbranch_ptr + at_row, dx.to(to), mask=known[:, None] & inside)
    at = tl.program_id(0) * 2 * C + channels
    tl.store(dparams_ptr + at, tl.sum(dweight, axis=0), mask=channels < C)
    tl.store(dparams_ptr + at + C, tl.sum(dbias, axis=0), mask=channels < C)


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
