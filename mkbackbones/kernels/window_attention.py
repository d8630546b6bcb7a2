"""Attention within small windows, with relative position bias and the mask of shifted windows.

A window of 49 tokens fits one tile: the kernels read query, key and value where the projection
wrote them, keep the scores on chip, and write the result where the next projection reads it. The
mask is worked out from a token's place, so that it is never in memory.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..compat.operators import custom_op
from .launch import differentiable, launch, num_groups

#: Tokens of a window that one tile holds.
TILE = 64
HEAD_CHANNELS = (16, 32, 64)
#: Programs for each multiprocessor, all heads together.
FORWARD_HEADS = 32
BACKWARD_HEADS = 16
SIZES = ['num_windows', 'rows', 'columns', 'shift', 'heads']


@triton.jit
def window_scores(
    q,
    k,
    bias,
    i,
    j,
    window,
    rows,
    columns,
    shift,
    softmax_scale,
    N: tl.constexpr,
    WINDOW: tl.constexpr,
):
    """Attention weights (64, 64) of one window and head; columns beyond its N tokens are zero."""
    s = tl.dot(q, tl.trans(k), input_precision='ieee') * softmax_scale + bias
    if shift > 0:
        # Only windows at the bottom and right edges hold tokens that were not neighbours.
        edge = WINDOW - shift
        place = window % (rows * columns)
        low_i = ((i // WINDOW >= edge) & (place // columns == rows - 1)).to(tl.int32)
        low_j = ((j // WINDOW >= edge) & (place // columns == rows - 1)).to(tl.int32)
        right_i = ((i % WINDOW >= edge) & (place % columns == columns - 1)).to(tl.int32)
        right_j = ((j % WINDOW >= edge) & (place % columns == columns - 1)).to(tl.int32)
        region_i = low_i * 2 + right_i
        region_j = low_j * 2 + right_j
        s = tl.where(region_i[:, None] != region_j[None, :], s - 100.0, s)
    s = tl.where((j < N)[None, :], s, float('-inf'))
    s = tl.exp(s - tl.max(s, axis=1)[:, None])
    return s / tl.sum(s, axis=1)[:, None]


@triton.jit(do_not_specialize=SIZES)
def attention_forward(
    qkv_ptr,
    bias_ptr,
    out_ptr,
    num_windows,
    rows,
    columns,
    shift,
    heads,
    softmax_scale,
    D: tl.constexpr,
    N: tl.constexpr,
    WINDOW: tl.constexpr,
):
    """Attention of one head; a program walks over windows.

    Args:
        qkv_ptr: Query, key and value (windows, N, 3, heads, D).
        bias_ptr: Relative position bias (heads, N, N).
        out_ptr: Receives the result (windows, N, heads, D).
        num_windows: Windows of all images.
        rows: Rows of windows in an image.
        columns: Columns of windows in an image.
        shift: Shift of the grid; 0 for none.
        heads: Heads.
        softmax_scale: What scores are multiplied by.
    """
    head = tl.program_id(1)
    i = tl.arange(0, 64)
    d = tl.arange(0, D)
    pair = (i < N)[:, None] & (i < N)[None, :]
    bias = tl.load(bias_ptr + (head * N + i[:, None]) * N + i[None, :], mask=pair, other=0.0)
    bias = bias.to(tl.float32)
    C = heads * D
    here = (i < N)[:, None]
    for window in range(tl.program_id(0), num_windows, tl.num_programs(0)):
        token = (window * N + i).to(tl.int64)
        at = token[:, None] * (3 * C) + head * D + d[None, :]
        q = tl.load(qkv_ptr + at, mask=here, other=0.0)
        k = tl.load(qkv_ptr + at + C, mask=here, other=0.0)
        v = tl.load(qkv_ptr + at + 2 * C, mask=here, other=0.0)
        p = window_scores(q, k, bias, i, i, window, rows, columns, shift, softmax_scale, N, WINDOW)
        y = tl.dot(p.to(v.dtype), v, input_precision='ieee')
        at = token[:, None] * C + head * D + d[None, :]
        tl.store(out_ptr + at, y.to(out_ptr.dtype.element_ty), mask=here)


@triton.jit(do_not_specialize=SIZES)
def attention_backward(
    qkv_ptr,
    bias_ptr,
    dout_ptr,
    dqkv_ptr,
    dbias_ptr,
    num_windows,
    rows,
    columns,
    shift,
    heads,
    softmax_scale,
    D: tl.constexpr,
    N: tl.constexpr,
    WINDOW: tl.constexpr,
):
    """Gradients of one head; a program walks over windows, and works the scores out again.

    Args:
        qkv_ptr: As in :func:`attention_forward`, and so on.
        dout_ptr: Gradient of the result (windows, N, heads, D).
        dqkv_ptr: Receives that of query, key and value (windows, N, 3, heads, D).
        dbias_ptr: Receives this program's part of the bias's (programs, heads, N, N), float32.
    """
    head = tl.program_id(1)
    i = tl.arange(0, 64)
    d = tl.arange(0, D)
    pair = (i < N)[:, None] & (i < N)[None, :]
    at_pair = i[:, None] * N + i[None, :]
    bias = tl.load(bias_ptr + head * N * N + at_pair, mask=pair, other=0.0).to(tl.float32)
    dbias = tl.zeros([64, 64], tl.float32)
    C = heads * D
    here = (i < N)[:, None]
    for window in range(tl.program_id(0), num_windows, tl.num_programs(0)):
        token = (window * N + i).to(tl.int64)
        at = token[:, None] * (3 * C) + head * D + d[None, :]
        q = tl.load(qkv_ptr + at, mask=here, other=0.0)
        k = tl.load(qkv_ptr + at + C, mask=here, other=0.0)
        v = tl.load(qkv_ptr + at + 2 * C, mask=here, other=0.0)
        at_out = token[:, None] * C + head * D + d[None, :]
        dy = tl.load(dout_ptr + at_out, mask=here, other=0.0)
        p = window_scores(q, k, bias, i, i, window, rows, columns, shift, softmax_scale, N, WINDOW)
        dp = tl.dot(dy, tl.trans(v), input_precision='ieee')
        ds = p * (dp - tl.sum(p * dp, axis=1)[:, None])
        dbias += ds
        p = p.to(dy.dtype)
        ds = (ds * softmax_scale).to(q.dtype)
        dv = tl.dot(tl.trans(p), dy, input_precision='ieee')
        dq = tl.dot(ds, k, input_precision='ieee')
        dk = tl.dot(tl.trans(ds), q, input_precision='ieee')
        to = dqkv_ptr.dtype.element_ty
        tl.store(dqkv_ptr + at, dq.to(to), mask=here)
        tl.store(dqkv_ptr + at + C, dk.to(to), mask=here)
        tl.store(dqkv_ptr + at + 2 * C, dv.to(to), mask=here)
    at = (tl.program_id(0) * heads + head) * N * N + at_pair
    tl.store(dbias_ptr + at, dbias, mask=pair)


def launch_options(
    qkv: Tensor, bias: Tensor, window: int, heads_share: int
) -> tuple[tuple[int, int], dict]:
    """Grid of programs and compile-time arguments of both kernels."""
    heads = bias.shape[0]
    groups = num_groups(qkv.shape[0], qkv.device, max(heads_share // heads, 1))
    constants = dict(
        D=qkv.shape[-1] // (3 * heads),
        N=qkv.shape[1],
        WINDOW=window,
        num_warps=4,
    )
    return (groups, heads), constants


def attend(qkv: Tensor, bias: Tensor, rows: int, columns: int, window: int, shift: int) -> Tensor:
    """Attend within each window.

    Args:
        qkv (Tensor): Query, key and value (B nW, N, 3 C), half precision.
        bias (Tensor): Relative position bias (h, N, N), float32.
        rows (int): Rows of windows in an image.
        columns (int): Columns of windows in an image.
        window (int): Window side w; N is w^2 and at most :data:`TILE`.
        shift (int): Shift of the grid; 0 for none, and then rows and columns do not matter.

    Returns:
        Tensor: Results (B nW, N, C).
    """
    qkv = qkv.contiguous()
    out = qkv.new_empty(*qkv.shape[:2], qkv.shape[2] // 3)
    grid, constants = launch_options(qkv, bias, window, FORWARD_HEADS)
    softmax_scale = constants['D'] ** -0.5
    launch(
        attention_forward,
        grid,
        [qkv, bias.contiguous(), out, qkv.shape[0], rows, columns, shift, grid[1], softmax_scale],
        constants,
    )
    return out


attend_op = custom_op('mkbackbones::window_attention')(attend)


@attend_op.register_fake
def _(qkv: Tensor, bias: Tensor, rows: int, columns: int, window: int, shift: int) -> Tensor:
    return qkv.new_empty(*qkv.shape[:2], qkv.shape[2] // 3)


def attend_backward(
    dout: Tensor, qkv: Tensor, bias: Tensor, rows: int, columns: int, window: int, shift: int
) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`attend`.

    Args:
        dout (Tensor): Gradient of the results (B nW, N, C).
        qkv (Tensor): As in :func:`attend`, and so on.

    Returns:
        tuple[Tensor, Tensor]: Gradients of ``qkv`` (B nW, N, 3 C) and ``bias`` (h, N, N).
    """
    qkv = qkv.contiguous()
    dqkv = torch.empty_like(qkv)
    grid, constants = launch_options(qkv, bias, window, BACKWARD_HEADS)
    dbias = bias.new_empty(grid[0], *bias.shape, dtype=torch.float32)
    softmax_scale = constants['D'] ** -0.5
    launch(
        attention_backward,
        grid,
        [
            qkv,
            bias.contiguous(),
            dout.contiguous(),
            dqkv,
            dbias,
            qkv.shape[0],
            rows,
            columns,
            shift,
            grid[1],
            softmax_scale,
        ],
        constants,
    )
    return dqkv, dbias.sum(0).to(bias.dtype)


attend_backward_op = custom_op('mkbackbones::window_attention_backward')(attend_backward)


@attend_backward_op.register_fake
def _(
    dout: Tensor, qkv: Tensor, bias: Tensor, rows: int, columns: int, window: int, shift: int
) -> tuple[Tensor, Tensor]:
    contiguous = torch.contiguous_format
    return (
        torch.empty_like(qkv, memory_format=contiguous),
        torch.empty_like(bias, memory_format=contiguous),
    )


def attention_setup(ctx: Any, inputs: tuple, output: Tensor) -> None:
    qkv, bias, *ctx.place = inputs
    ctx.save_for_backward(qkv, bias)


def attention_gradients(backward: Callable, ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
    return *backward(dout, *ctx.saved_tensors, *ctx.place), None, None, None, None


window_attention = differentiable(
    attend_op, attend, attend_backward_op, attend_backward, attention_setup, attention_gradients
)


def fits_tile(window: int, head_channels: int) -> bool:
    """Whether the kernels take windows of this side and heads of this width."""
    return window**2 <= TILE and head_channels in HEAD_CHANNELS
