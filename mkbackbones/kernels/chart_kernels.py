"""Triton kernels of the charts: activation, neighbourhood, aggregation, and their gradients.

They read the charts' pre-activations z (B, N, H d) once and write keys (B, N, d) only; the
activated charts are never in memory. A program works on a tile of tokens, wherever images (or
windows) end in it, and a block of key channels, and walks over the charts.
"""

import triton
import triton.language as tl

from .activation import activation
from .neighbourhood_kernels import SIZES, convolve, grid_cells


@triton.jit(do_not_specialize=SIZES)
def charts_forward(
    z_ptr,
    spatial_ptr,
    gate_ptr,
    scale_ptr,
    qkv_ptr,
    num_tokens,
    total_tokens,
    grid_height,
    grid_width,
    prefix,
    H: tl.constexpr,
    D: tl.constexpr,
    KERNEL: tl.constexpr,
    ACT: tl.constexpr,
    GATED: tl.constexpr,
    SCALED: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add scale * A(z) to the keys in qkv, in place.

    Args:
        z_ptr: Pre-activations of the charts (B, N, H, D).
        spatial_ptr: Depthwise weights (KERNEL^2, H D); KERNEL 0: no neighbourhood.
        gate_ptr: Weight of each chart (B, N, H), with GATED; without it their mean is taken.
        scale_ptr: Output scale (D,), with SCALED.
        qkv_ptr: Query, key and value (B, N, 3, D).
        num_tokens: Tokens N of an image.
        total_tokens: Tokens B N.
        grid_height: Rows of the token grid.
        grid_width: Columns of the token grid.
        prefix: Tokens before the grid.
    """
    token = tl.program_id(0) * TILE + tl.arange(0, TILE)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (c < D) | (D % BLOCK == 0)
    real = token < total_tokens
    row, column, alone = grid_cells(token, num_tokens, total_tokens, grid_width, prefix)
    if KERNEL == 0:
        alone = real
    token = token.to(tl.int64)
    key = tl.zeros([TILE, BLOCK], tl.float32)
    for h in range(H):
        channels = h * D + c
        at_z = token[:, None] * (H * D) + channels[None, :]
        u = convolve(
            z_ptr,
            spatial_ptr,
            at_z,
            row,
            column,
            alone,
            channels,
            inside,
            grid_height,
            grid_width,
            H * D,
            KERNEL,
        )
        value, _ = activation(u, ACT)
        if GATED:
            gate = tl.load(gate_ptr + token * H + h, mask=real, other=0.0).to(tl.float32)
            key += value * gate[:, None]
        else:
            key += value
    if not GATED:
        key *= 1.0 / H
    if SCALED:
        key *= tl.load(scale_ptr + c, mask=inside, other=0.0).to(tl.float32)[None, :]
    at = token[:, None] * (3 * D) + D + c[None, :]
    mask = real[:, None] & inside[None, :]
    key += tl.load(qkv_ptr + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(qkv_ptr + at, key.to(qkv_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=SIZES)
def charts_backward(
    z_ptr,
    spatial_ptr,
    gate_ptr,
    scale_ptr,
    dqkv_ptr,
    du_ptr,
    dgate_ptr,
    dscale_ptr,
    dbias_ptr,
    num_tokens,
    total_tokens,
    grid_height,
    grid_width,
    prefix,
    H: tl.constexpr,
    D: tl.constexpr,
    KERNEL: tl.constexpr,
    ACT: tl.constexpr,
    GATED: tl.constexpr,
    SCALED: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradient of what the activation gets, and parts of the gate's, scale's and bias's.

    Args:
        z_ptr: As in :func:`charts_forward`, and so on.
        dqkv_ptr: Gradient of query, key and value (B, N, 3, D).
        du_ptr: Receives the gradient of what the activation gets (B, N, H, D); may be ``z_ptr``
            without a neighbourhood.
        dgate_ptr: Receives the gate's (blocks of channels, B, N, H), with GATED.
        dscale_ptr: Receives the scale's (tiles, D), with SCALED.
        dbias_ptr: Receives the bias's (tiles, H D), where KERNEL is 0.
    """
    token = tl.program_id(0) * TILE + tl.arange(0, TILE)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (c < D) | (D % BLOCK == 0)
    real = token < total_tokens
    row, column, alone = grid_cells(token, num_tokens, total_tokens, grid_width, prefix)
    if KERNEL == 0:
        alone = real
    token = token.to(tl.int64)
    mask = real[:, None] & inside[None, :]
    at = token[:, None] * (3 * D) + D + c[None, :]
    dkey = tl.load(dqkv_ptr + at, mask=mask, other=0.0).to(tl.float32)
    dvalue = dkey
    if SCALED:
        dvalue *= tl.load(scale_ptr + c, mask=inside, other=0.0).to(tl.float32)[None, :]
    if not GATED:
        dvalue *= 1.0 / H
    dscale = tl.zeros([TILE, BLOCK], tl.float32)
    for h in range(H):
        channels = h * D + c
        at_z = token[:, None] * (H * D) + channels[None, :]
        u = convolve(
            z_ptr,
            spatial_ptr,
            at_z,
            row,
            column,
            alone,
            channels,
            inside,
            grid_height,
            grid_width,
            H * D,
            KERNEL,
        )
        value, slope = activation(u, ACT)
        if GATED:
            gate = tl.load(gate_ptr + token * H + h, mask=real, other=0.0).to(tl.float32)
            dgate = tl.sum(dvalue * value, axis=1)
            at_gate = (tl.program_id(1) * total_tokens + token) * H + h
            tl.store(dgate_ptr + at_gate, dgate, mask=real)
            dscale += dkey * value * gate[:, None]
            du = dvalue * slope * gate[:, None]
        else:
            dscale += dkey * value
            du = dvalue * slope
        tl.store(du_ptr + at_z, du.to(du_ptr.dtype.element_ty), mask=mask)
        if KERNEL == 0:
            at_bias = tl.program_id(0).to(tl.int64) * (H * D) + channels
            tl.store(dbias_ptr + at_bias, tl.sum(du, axis=0), mask=inside)
    if SCALED:
        total = tl.sum(dscale, axis=0)
        if not GATED:
            total *= 1.0 / H
        tl.store(dscale_ptr + tl.program_id(0).to(tl.int64) * D + c, total, mask=inside)
