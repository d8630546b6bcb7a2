"""Triton kernels of the charts: activation, neighbourhood, aggregation, and their gradients.

They read the charts' pre-activations z (B, N, H d) once and write keys (B, N, d) only; the
activated charts are never in memory. A program works on a tile of tokens, wherever images (or
windows) end in it, and a block of key channels, and walks over the charts.
"""

import triton
import triton.language as tl

from .activation import activation

SIZES = ['num_tokens', 'total_tokens', 'grid_height', 'grid_width', 'prefix']


@triton.jit
def grid_cells(token, num_tokens, total_tokens, grid_width, prefix):
    """Rows and columns of tokens on their grids, and which tokens come before a grid.

    Tokens that are not on a grid are far off it.
    """
    cell = token % num_tokens - prefix
    real = token < total_tokens
    row = tl.where(real & (cell >= 0), cell // grid_width, -(1 << 20))
    return row, cell % grid_width, real & (cell < 0)


@triton.jit
def neighbour(ptr, at, row, column, inside, dy, dx, grid_height, grid_width, STRIDE: tl.constexpr):
    """Load what lies (dy, dx) from the values at ``at``, zero beyond the grid."""
    # As unsigned numbers, those below zero are beyond the last one.
    there = (row + dy).to(tl.uint32, bitcast=True) < grid_height.to(tl.uint32)
    there = there & ((column + dx).to(tl.uint32, bitcast=True) < grid_width.to(tl.uint32))
    shifted = ptr + (dy * grid_width + dx).to(tl.int64) * STRIDE
    return tl.load(shifted + at, mask=there[:, None] & inside[None, :], other=0.0).to(tl.float32)


@triton.jit
def tap_weight(spatial_ptr, tap, channels, inside, STRIDE: tl.constexpr):
    """What the neighbours at a tap are multiplied by."""
    weight = tl.load(spatial_ptr + tap * STRIDE + channels, mask=inside, other=0.0)
    return weight.to(tl.float32)[None, :]


@triton.jit
def convolve(
    z_ptr,
    spatial_ptr,
    at,
    row,
    column,
    alone,
    channels,
    inside,
    grid_height,
    grid_width,
    STRIDE: tl.constexpr,
    KERNEL: tl.constexpr,
):
    """Depthwise convolution of a tile, but for the tokens that are alone; with KERNEL 0 all are."""
    u = tl.load(z_ptr + at, mask=alone[:, None] & inside[None, :], other=0.0).to(tl.float32)
    if KERNEL > 0:
        for tap in range(KERNEL * KERNEL):
            dy = tap // KERNEL - KERNEL // 2
            dx = tap % KERNEL - KERNEL // 2
            z = neighbour(z_ptr, at, row, column, inside, dy, dx, grid_height, grid_width, STRIDE)
            u += z * tap_weight(spatial_ptr, tap, channels, inside, STRIDE)
    return u


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


@triton.jit(do_not_specialize=SIZES)
def spatial_backward(
    du_ptr,
    spatial_ptr,
    z_ptr,
    dspatial_ptr,
    dbias_ptr,
    num_tokens,
    total_tokens,
    grid_height,
    grid_width,
    prefix,
    CHANNELS: tl.constexpr,
    KERNEL: tl.constexpr,
    TAPS: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradients of the convolution; a program walks over tiles.

    Args:
        du_ptr: Gradient of what the convolution gives (B, N, CHANNELS), CHANNELS = H D.
        spatial_ptr: Depthwise weights (KERNEL^2, CHANNELS).
        z_ptr: What it got (B, N, CHANNELS); receives the gradient of that.
        dspatial_ptr: Receives this program's part of the weights' (programs, KERNEL^2, CHANNELS).
        dbias_ptr: Receives this program's part of the bias's (programs, CHANNELS).
        num_tokens: As in :func:`charts_forward`, and so on.
    """
    channels = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (channels < CHANNELS) | (CHANNELS % BLOCK == 0)
    taps = tl.arange(0, TAPS)
    dspatial = tl.zeros([TAPS, BLOCK], tl.float32)
    dbias = tl.zeros([BLOCK], tl.float32)
    for start in range(tl.program_id(0) * TILE, total_tokens, tl.num_programs(0) * TILE):
        token = start + tl.arange(0, TILE)
        row, column, alone = grid_cells(token, num_tokens, total_tokens, grid_width, prefix)
        at_z = token.to(tl.int64)[:, None] * CHANNELS + channels[None, :]
        mask = (token < total_tokens)[:, None] & inside[None, :]
        z = tl.load(z_ptr + at_z, mask=mask, other=0.0).to(tl.float32)
        alone = alone[:, None] & inside[None, :]
        dz = tl.load(du_ptr + at_z, mask=alone, other=0.0).to(tl.float32)
        for tap in range(KERNEL * KERNEL):
            dy = KERNEL // 2 - tap // KERNEL
            dx = KERNEL // 2 - tap % KERNEL
            du = neighbour(
                du_ptr, at_z, row, column, inside, dy, dx, grid_height, grid_width, CHANNELS
            )
            dz += du * tap_weight(spatial_ptr, tap, channels, inside, CHANNELS)
            part = tl.sum(du * z, axis=0)
            dspatial += tl.where((taps == tap)[:, None], part[None, :], 0.0)
        tl.store(z_ptr + at_z, dz.to(z_ptr.dtype.element_ty), mask=mask)
        dbias += tl.sum(dz, axis=0)
    at = (tl.program_id(0) * KERNEL * KERNEL + taps[:, None]) * CHANNELS + channels[None, :]
    mask = (taps < KERNEL * KERNEL)[:, None] & inside[None, :]
    tl.store(dspatial_ptr + at, dspatial, mask=mask)
    tl.store(dbias_ptr + tl.program_id(0) * CHANNELS + channels, dbias, mask=inside)


@triton.jit
def tap_gradients(
    tap: tl.constexpr,
    dz,
    dweight,
    z,
    du_ptr,
    spatial_ptr,
    at,
    row,
    column,
    channels,
    inside,
    grid_height,
    grid_width,
    CHANNELS: tl.constexpr,
):
    """Add what comes through one tap of 3x3 to the gradients of tokens and of its weights."""
    dy: tl.constexpr = 1 - tap // 3
    dx: tl.constexpr = 1 - tap % 3
    du = neighbour(du_ptr, at, row, column, inside, dy, dx, grid_height, grid_width, CHANNELS)
    weight = tap_weight(spatial_ptr, tap, channels, inside, CHANNELS)
    return dz + du * weight, dweight + du * z


@triton.jit
def store_tap(dspatial_ptr, tap: tl.constexpr, dweight, channels, inside, CHANNELS: tl.constexpr):
    """Store a program's part of the gradient of one tap's weights, summed over its tokens."""
    at = (tl.program_id(0) * 9 + tap) * CHANNELS + channels
    tl.store(dspatial_ptr + at, tl.sum(dweight, axis=0), mask=inside)


@triton.jit(do_not_specialize=SIZES)
def spatial_backward_3x3(
    du_ptr,
    spatial_ptr,
    z_ptr,
    dspatial_ptr,
    dbias_ptr,
    num_tokens,
    total_tokens,
    grid_height,
    grid_width,
    prefix,
    CHANNELS: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """:func:`spatial_backward` of 3x3: lanes keep their parts of the weights' gradients.

    Nothing is exchanged between lanes before the last tile, which saves a third of the work; nine
    tiles of parts have to fit in registers, so tiles are small.
    """
    channels = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (channels < CHANNELS) | (CHANNELS % BLOCK == 0)
    nothing = tl.zeros([TILE, BLOCK], tl.float32)
    dbias = nothing
    d0 = nothing
    d1 = nothing
    d2 = nothing
    d3 = nothing
    d4 = nothing
    d5 = nothing
    d6 = nothing
    d7 = nothing
    d8 = nothing
    for start in range(tl.program_id(0) * TILE, total_tokens, tl.num_programs(0) * TILE):
        token = start + tl.arange(0, TILE)
        row, column, alone = grid_cells(token, num_tokens, total_tokens, grid_width, prefix)
        at = token.to(tl.int64)[:, None] * CHANNELS + channels[None, :]
        mask = (token < total_tokens)[:, None] & inside[None, :]
        z = tl.load(z_ptr + at, mask=mask, other=0.0).to(tl.float32)
        alone = alone[:, None] & inside[None, :]
        dz = tl.load(du_ptr + at, mask=alone, other=0.0).to(tl.float32)
        dz, d0 = tap_gradients(
            0,
            dz,
            d0,
            z,
            du_ptr,
            spatial_ptr,
            at,
            row,
            column,
            channels,
            inside,
            grid_height,
            grid_width,
            CHANNELS,
        )
        dz, d1 = tap_gradients(
            1,
            dz,
            d1,
            z,
            du_ptr,
            spatial_ptr,
            at,
            row,
            column,
            channels,
            inside,
            grid_height,
            grid_width,
            CHANNELS,
        )
        dz, d2 = tap_gradients(
            2,
            dz,
            d2,
            z,
            du_ptr,
            spatial_ptr,
            at,
            row,
            column,
            channels,
            inside,
            grid_height,
            grid_width,
            CHANNELS,
        )
        dz, d3 = tap_gradients(
            3,
            dz,
            d3,
            z,
            du_ptr,
            spatial_ptr,
            at,
            row,
            column,
            channels,
            inside,
            grid_height,
            grid_width,
            CHANNELS,
        )
        dz, d4 = tap_gradients(
            4,
            dz,
            d4,
            z,
            du_ptr,
            spatial_ptr,
            at,
            row,
            column,
            channels,
            inside,
            grid_height,
            grid_width,
            CHANNELS,
        )
        dz, d5 = tap_gradients(
            5,
            dz,
            d5,
            z,
            du_ptr,
            spatial_ptr,
            at,
            row,
            column,
            channels,
            inside,
            grid_height,
            grid_width,
            CHANNELS,
        )
        dz, d6 = tap_gradients(
            6,
            dz,
            d6,
            z,
            du_ptr,
            spatial_ptr,
            at,
            row,
            column,
            channels,
            inside,
            grid_height,
            grid_width,
            CHANNELS,
        )
        dz, d7 = tap_gradients(
            7,
            dz,
            d7,
            z,
            du_ptr,
            spatial_ptr,
            at,
            row,
            column,
            channels,
            inside,
            grid_height,
            grid_width,
            CHANNELS,
        )
        dz, d8 = tap_gradients(
            8,
            dz,
            d8,
            z,
            du_ptr,
            spatial_ptr,
            at,
            row,
            column,
            channels,
            inside,
            grid_height,
            grid_width,
            CHANNELS,
        )
        tl.store(z_ptr + at, dz.to(z_ptr.dtype.element_ty), mask=mask)
        dbias += dz
    store_tap(dspatial_ptr, 0, d0, channels, inside, CHANNELS)
    store_tap(dspatial_ptr, 1, d1, channels, inside, CHANNELS)
    store_tap(dspatial_ptr, 2, d2, channels, inside, CHANNELS)
    store_tap(dspatial_ptr, 3, d3, channels, inside, CHANNELS)
    store_tap(dspatial_ptr, 4, d4, channels, inside, CHANNELS)
    store_tap(dspatial_ptr, 5, d5, channels, inside, CHANNELS)
    store_tap(dspatial_ptr, 6, d6, channels, inside, CHANNELS)
    store_tap(dspatial_ptr, 7, d7, channels, inside, CHANNELS)
    store_tap(dspatial_ptr, 8, d8, channels, inside, CHANNELS)
    at = tl.program_id(0) * CHANNELS + channels
    tl.store(dbias_ptr + at, tl.sum(dbias, axis=0), mask=inside)
