"""The Triton kernels of :mod:`mkbackbones.kernels.norm`.

Each walks over the rows of the windows, padding included, and finds for each the token of the grid
that it came from. Without windows rows are tokens.
"""

import triton
import triton.language as tl

SIZES = ['num_rows', 'num_tokens', 'height', 'width', 'padded_height', 'padded_width', 'shift']


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


@triton.jit
def token_offsets(
    block,
    num_rows,
    height,
    width,
    padded_height,
    padded_width,
    shift,
    C: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    WINDOW: tl.constexpr,
):
    """Where a block of rows lies on the grid and in the windows, and what of it is there."""
    rows = block * ROWS + tl.arange(0, ROWS)
    tokens, real = source_tokens(rows, height, width, padded_height, padded_width, shift, WINDOW)
    known = rows < num_rows
    real = real & known
    channels = tl.arange(0, BLOCK)
    inside = (channels < C)[None, :]
    at_token = tokens.to(tl.int64)[:, None] * C + channels[None, :]
    at_row = rows.to(tl.int64)[:, None] * C + channels[None, :]
    return tokens, real, at_token, real[:, None] & inside, at_row, known[:, None] & inside


@triton.jit(do_not_specialize=SIZES)
def norm_forward(
    x_ptr,
    branch_ptr,
    scale_ptr,
    weight_ptr,
    bias_ptr,
    total_ptr,
    y_ptr,
    stats_ptr,
    num_rows,
    num_tokens,
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
    PARTITION: tl.constexpr,
):
    """Sum, statistics and norm of ROWS rows a program.

    Args:
        x_ptr: Residual stream (tokens, C).
        branch_ptr: What is added with MERGE: window rows (rows, C), or tokens with PARTITION.
        scale_ptr: Factor of each image's branch (B,), with SCALED.
        weight_ptr: Of the norm (C,).
        bias_ptr: Of the norm (C,).
        total_ptr: Receives the sum (tokens, C), with MERGE.
        y_ptr: Receives the norm: window rows (rows, C) with PARTITION, tokens without.
        stats_ptr: Receives mean and reciprocal deviation (2, tokens), float32.
        num_rows: Rows of the windows, padding included; of tokens where WINDOW is 0.
        num_tokens: Tokens of all images, and so on: the grid, padded to whole windows.
        eps: Of the norm.
    """
    tokens, real, at_token, on_grid, at_row, in_windows = token_offsets(
        tl.program_id(0),
        num_rows,
        height,
        width,
        padded_height,
        padded_width,
        shift,
        C,
        BLOCK,
        ROWS,
        WINDOW,
    )
    channels = tl.arange(0, BLOCK)
    inside = channels < C
    x = tl.load(x_ptr + at_token, mask=on_grid, other=0.0).to(tl.float32)
    if MERGE:
        at_branch = at_token if PARTITION else at_row
        branch = tl.load(branch_ptr + at_branch, mask=on_grid, other=0.0).to(tl.float32)
        if SCALED:
            scale = tl.load(scale_ptr + tokens // (height * width), mask=real, other=0.0)
            branch *= scale[:, None]
        rounded = (x + branch).to(total_ptr.dtype.element_ty)
        tl.store(total_ptr + at_token, rounded, mask=on_grid)
        x = rounded.to(tl.float32)
    mean = tl.sum(x, axis=1) / C
    centred = tl.where(inside[None, :], x - mean[:, None], 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=1) / C + eps)
    weight = tl.load(weight_ptr + channels, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + channels, mask=inside, other=0.0).to(tl.float32)
    y = centred * rstd[:, None] * weight[None, :] + bias[None, :]
    if PARTITION:
        y = tl.where(real[:, None], y, 0.0)  # padding is zero behind the norm
        tl.store(y_ptr + at_row, y.to(y_ptr.dtype.element_ty), mask=in_windows)
    else:
        tl.store(y_ptr + at_token, y.to(y_ptr.dtype.element_ty), mask=on_grid)
    tl.store(stats_ptr + tokens, mean, mask=real)
    tl.store(stats_ptr + num_tokens + tokens, rstd, mask=real)


@triton.jit(do_not_specialize=[*SIZES, 'num_blocks'])
def norm_backward(
    x_ptr,
    dy_ptr,
    dtotal_ptr,
    scale_ptr,
    weight_ptr,
    stats_ptr,
    dx_ptr,
    dbranch_ptr,
    dparams_ptr,
    num_rows,
    num_tokens,
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
    PARTITION: tl.constexpr,
):
    """Gradients of x, the branch and the parameters; a program walks over blocks of ROWS rows.

    Args:
        x_ptr: What was normalised (tokens, C).
        dy_ptr: Gradient of the norm: window rows with PARTITION, tokens without.
        dtotal_ptr: Gradient of the sum that x is (tokens, C), with MERGE.
        scale_ptr: Factor of each image's branch (B,), with SCALED.
        weight_ptr: Of the norm (C,).
        stats_ptr: Mean and reciprocal deviation (2, tokens), float32.
        dx_ptr: Receives the gradient of x (tokens, C).
        dbranch_ptr: Receives the branch's, laid out as the branch, with MERGE.
        dparams_ptr: Receives this program's part of the gradients of weight, bias and, with MERGE,
            of a bias of the branch (programs, 2 or 3, C), float32.
        num_rows: As in :func:`norm_forward`, and so on.
        num_blocks: Blocks of rows.
    """
    channels = tl.arange(0, BLOCK)
    inside = channels < C
    weight = tl.load(weight_ptr + channels, mask=inside, other=0.0).to(tl.float32)
    dweight = tl.zeros([ROWS, BLOCK], tl.float32)
    dbias = tl.zeros([ROWS, BLOCK], tl.float32)
    branch_sum = tl.zeros([ROWS, BLOCK], tl.float32)
    for block in range(tl.program_id(0), num_blocks, tl.num_programs(0)):
        tokens, real, at_token, on_grid, at_row, in_windows = token_offsets(
            block,
            num_rows,
            height,
            width,
            padded_height,
            padded_width,
            shift,
            C,
            BLOCK,
            ROWS,
            WINDOW,
        )
        x = tl.load(x_ptr + at_token, mask=on_grid, other=0.0).to(tl.float32)
        at_y = at_row if PARTITION else at_token
        dy = tl.load(dy_ptr + at_y, mask=on_grid, other=0.0).to(tl.float32)
        mean = tl.load(stats_ptr + tokens, mask=real, other=0.0)
        rstd = tl.load(stats_ptr + num_tokens + tokens, mask=real, other=0.0)
        normed = tl.where(on_grid, (x - mean[:, None]) * rstd[:, None], 0.0)
        dweight += dy * normed
        dbias += dy
        dnormed = dy * weight[None, :]
        along_one = tl.sum(dnormed, axis=1) / C
        along_x = tl.sum(dnormed * normed, axis=1) / C
        dx = (dnormed - along_one[:, None] - normed * along_x[:, None]) * rstd[:, None]
        if MERGE:
            dx += tl.load(dtotal_ptr + at_token, mask=on_grid, other=0.0).to(tl.float32)
        tl.store(dx_ptr + at_token, dx.to(dx_ptr.dtype.element_ty), mask=on_grid)
        if MERGE:
            if SCALED:
                scale = tl.load(scale_ptr + tokens // (height * width), mask=real, other=0.0)
                dx *= scale[:, None]
            dx = tl.where(on_grid, dx, 0.0)  # cropped padding gets no gradient
            branch_sum += dx
            if PARTITION:
                tl.store(dbranch_ptr + at_token, dx.to(dbranch_ptr.dtype.element_ty), mask=on_grid)
            else:
                tl.store(dbranch_ptr + at_row, dx.to(dbranch_ptr.dtype.element_ty), mask=in_windows)
    at = tl.program_id(0) * (3 if MERGE else 2) * C + channels
    tl.store(dparams_ptr + at, tl.sum(dweight, axis=0), mask=inside)
    tl.store(dparams_ptr + at + C, tl.sum(dbias, axis=0), mask=inside)
    if MERGE:
        tl.store(dparams_ptr + at + 2 * C, tl.sum(branch_sum, axis=0), mask=inside)
