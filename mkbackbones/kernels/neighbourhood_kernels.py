"""Triton kernels of the charts' neighbourhood: a depthwise convolution on grids of tokens.

Tiles of tokens lie wherever images (or windows) end in them: each token knows its place on its own
grid.
"""

import triton
import triton.language as tl

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


@triton.jit
def tile_gradients(
    z_ptr, du_ptr, token, alone, channels, inside, total_tokens, CHANNELS: tl.constexpr
):
    """Where a tile lies, what of it is there, its z, and the gradient of tokens that are alone."""
    at = token.to(tl.int64)[:, None] * CHANNELS + channels[None, :]
    mask = (token < total_tokens)[:, None] & inside[None, :]
    z = tl.load(z_ptr + at, mask=mask, other=0.0).to(tl.float32)
    alone = alone[:, None] & inside[None, :]
    dz = tl.load(du_ptr + at, mask=alone, other=0.0).to(tl.float32)
    return at, mask, z, dz


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
        at_z, mask, z, dz = tile_gradients(
            z_ptr, du_ptr, token, alone, channels, inside, total_tokens, CHANNELS
        )
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
def add_tap(
    tap: tl.constexpr,
    dz,
    dweight,
    z,
    du_ptr,
    at,
    taps,
    row,
    column,
    inside,
    height,
    width,
    CHANNELS: tl.constexpr,
):
    """Add what comes through one tap of 3x3 to the gradients of tokens and of its weights."""
    dy: tl.constexpr = 1 - tap // 3
    dx: tl.constexpr = 1 - tap % 3
    du = neighbour(du_ptr, at, row, column, inside, dy, dx, height, width, CHANNELS)
    weight = tl.load(taps + tap * CHANNELS, mask=inside, other=0.0)
    return dz + du * weight[None, :], dweight + du * z


@triton.jit
def store_tap(dspatial_ptr, tap: tl.constexpr, dweight, channels, inside, CHANNELS: tl.constexpr):
    """Store a program's part of the gradient of one tap's weights, summed over its lanes."""
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
    """:func:`spatial_backward` of 3x3, where each lane sums up its own parts of weight gradients.

    Nothing is exchanged between lanes before the last tile, which saves a third of the
    instructions. Nine tiles of parts have to fit into registers, so tiles are small.
    """
    channels = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (channels < CHANNELS) | (CHANNELS % BLOCK == 0)
    taps = spatial_ptr + channels
    h = grid_height
    w = grid_width
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
        row, column, alone = grid_cells(token, num_tokens, total_tokens, w, prefix)
        at, mask, z, dz = tile_gradients(
            z_ptr, du_ptr, token, alone, channels, inside, total_tokens, CHANNELS
        )
        dz, d0 = add_tap(0, dz, d0, z, du_ptr, at, taps, row, column, inside, h, w, CHANNELS)
        dz, d1 = add_tap(1, dz, d1, z, du_ptr, at, taps, row, column, inside, h, w, CHANNELS)
        dz, d2 = add_tap(2, dz, d2, z, du_ptr, at, taps, row, column, inside, h, w, CHANNELS)
        dz, d3 = add_tap(3, dz, d3, z, du_ptr, at, taps, row, column, inside, h, w, CHANNELS)
        dz, d4 = add_tap(4, dz, d4, z, du_ptr, at, taps, row, column, inside, h, w, CHANNELS)
        dz, d5 = add_tap(5, dz, d5, z, du_ptr, at, taps, row, column, inside, h, w, CHANNELS)
        dz, d6 = add_tap(6, dz, d6, z, du_ptr, at, taps, row, column, inside, h, w, CHANNELS)
        dz, d7 = add_tap(7, dz, d7, z, du_ptr, at, taps, row, column, inside, h, w, CHANNELS)
        dz, d8 = add_tap(8, dz, d8, z, du_ptr, at, taps, row, column, inside, h, w, CHANNELS)
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
