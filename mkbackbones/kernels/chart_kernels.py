"""Triton kernels of the charts: activation, neighbourhood, aggregation, and their gradients.

They read the charts' pre-activations z (B, N, H d) once and write keys (B, N, d) only; the
activated charts are never in memory. A program works on a tile of tokens of one image (or window)
and a block of key channels, and walks over the charts.
"""

import triton
import triton.language as tl

from .activation import activation

SIZES = ['num_tokens', 'tiles', 'grid_height', 'grid_width', 'prefix']


@triton.jit
def grid_cells(n, num_tokens, grid_width, prefix):
    """Rows and columns of tokens on the grid; far off it for tokens that are not on it."""
    cell = n - prefix
    row = tl.where((cell >= 0) & (n < num_tokens), cell // grid_width, -(1 << 20))
    return row, cell % grid_width


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
    n,
    row,
    column,
    channels,
    inside,
    num_tokens,
    grid_height,
    grid_width,
    prefix,
    STRIDE: tl.constexpr,
    KERNEL: tl.constexpr,
):
    """Depthwise convolution of a tile; prefix tokens bypass it, and with KERNEL 0 all do."""
    alone = n < num_tokens if KERNEL == 0 else n < prefix
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
    tiles,
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
        num_tokens: Tokens N of an image; of all images without a neighbourhood.
        tiles: Tiles of TILE tokens in an image.
        grid_height: Rows of the token grid.
        grid_width: Columns of the token grid.
        prefix: Tokens before the grid.
    """
    image = tl.program_id(0) // tiles
    n = (tl.program_id(0) % tiles) * TILE + tl.arange(0, TILE)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (c < D) | (D % BLOCK == 0)
    real = n < num_tokens
    token = (image * num_tokens + n).to(tl.int64)
    row, column = grid_cells(n, num_tokens, grid_width, prefix)
    key = tl.zeros([TILE, BLOCK], tl.float32)
    for h in range(H):
        channels = h * D + c
        at_z = token[:, None] * (H * D) + channels[None, :]
        u = convolve(
            z_ptr,
            spatial_ptr,
            at_z,
            n,
            row,
            column,
            channels,
            inside,
            num_tokens,
            grid_height,
            grid_width,
            prefix,
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


@triton.jit(do_not_specialize=[*SIZES, 'total_tokens'])
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
    tiles,
    grid_height,
    grid_width,
    prefix,
    total_tokens,
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
        dscale_ptr: Receives the scale's (tiles of all images, D), with SCALED.
        dbias_ptr: Receives the bias's (tiles of all images, H D), where KERNEL is 0.
        total_tokens: Tokens B N.
    """
    image = tl.program_id(0) // tiles
    n = (tl.program_id(0) % tiles) * TILE + tl.arange(0, TILE)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (c < D) | (D % BLOCK == 0)
    real = n < num_tokens
    token = (image * num_tokens + n).to(tl.int64)
    row, column = grid_cells(n, num_tokens, grid_width, prefix)
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
            n,
            row,
            column,
            channels,
            inside,
            num_tokens,
            grid_height,
            grid_width,
            prefix,
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


@triton.jit(do_not_specialize=[*SIZES, 'num_tiles'])
def spatial_backward(
    du_ptr,
    spatial_ptr,
    z_ptr,
    dspatial_ptr,
    dbias_ptr,
    num_tokens,
    tiles,
    grid_height,
    grid_width,
    prefix,
    num_tiles,
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
        num_tiles: Tiles of all images.
    """
    channels = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (channels < CHANNELS) | (CHANNELS % BLOCK == 0)
    taps = tl.arange(0, TAPS)
    dspatial = tl.zeros([TAPS, BLOCK], tl.float32)
    dbias = tl.zeros([BLOCK], tl.float32)
    for tile in range(tl.program_id(0), num_tiles, tl.num_programs(0)):
        image = tile // tiles
        n = (tile % tiles) * TILE + tl.arange(0, TILE)
        token = (image * num_tokens + n).to(tl.int64)
        at_z = token[:, None] * CHANNELS + channels[None, :]
        mask = (n < num_tokens)[:, None] & inside[None, :]
        row, column = grid_cells(n, num_tokens, grid_width, prefix)
        z = tl.load(z_ptr + at_z, mask=mask, other=0.0).to(tl.float32)
        alone = (n < prefix)[:, None] & inside[None, :]
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
