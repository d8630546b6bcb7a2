"""What the kernels compute, in plain PyTorch: a twin of each public function, under its name.

They are what the tests compare with, values and gradients, and where to read what a kernel is for.
Each works in the type of its inputs, in full precision or float64 as well.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .geometry import Geometry
from .projections import KeyParameters


def activation(z: Tensor, act: str) -> Tensor:
    """phi(z), elementwise; GELU is the exact one, ``z / 2 (1 + erf(z / sqrt(2)))``."""
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        'identity': torch.clone,
        'gelu': F.gelu,
        'relu': F.relu,
        'silu': F.silu,
    }
    return functions[act](z)


def to_windows(x: Tensor, geometry: Geometry) -> Tensor:
    """Pad with zeros, roll, partition: tokens (B, H, W, C) -> windows (B nW, w^2, C).

    ``x`` itself without windows.
    """
    height, width, window, shift = geometry
    if not window:
        return x
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window)).roll((-shift, -shift), (1, 2))
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))  # B, rows, w, columns, w, C
    return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def from_windows(windows: Tensor, geometry: Geometry) -> Tensor:
    """Merge, unroll, crop: windows (B nW, w^2, C) -> tokens (B, H, W, C)."""
    height, width, window, shift = geometry
    if not window:
        return windows
    x = windows.unflatten(1, (window, window))
    x = x.unflatten(0, (-1, geometry.rows, geometry.columns))
    x = x.transpose(2, 3).flatten(3, 4).flatten(1, 2).roll((shift, shift), (1, 2))
    return x[:, :height, :width]


def per_image(scale: Tensor | None, x: Tensor) -> Tensor | float:
    """A factor for each image (B,), to multiply (B, ..., C) with; 1 for None."""
    return 1.0 if scale is None else scale.view(-1, *[1] * (x.dim() - 1))


def window_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, geometry: Geometry) -> Tensor:
    """LayerNorm, then windows: (B, H, W, C) -> (B nW, w^2, C); window 0: (B, N, C) as it is.

    Args:
        x (Tensor): Tokens.
        weight (Tensor): Of the norm (C,).
        bias (Tensor): Of the norm (C,).
        eps (float): Of the norm.
        geometry (Geometry): The grid of the tokens and its windows.
    """
    return to_windows(F.layer_norm(x, weight.shape, weight, bias, eps), geometry)


def merge_norm(
    x: Tensor,
    branch: Tensor,
    scale: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    geometry: Geometry,
    partition: bool = False,
) -> tuple[Tensor, Tensor]:
    """``x + scale * branch`` (B, H, W, C), and its LayerNorm.

    Args:
        x (Tensor): Residual stream (B, H, W, C), or (B, N, C) with a window of 0.
        branch (Tensor): Windows (B nW, w^2, C), merged first; with ``partition`` as ``x``.
        scale (Tensor, optional): Of each image's branch (B,).
        weight (Tensor): Of the norm (C,).
        bias (Tensor): Of the norm (C,).
        eps (float): Of the norm.
        geometry (Geometry): As in :func:`window_norm`.
        partition (bool): Whether the norm comes in windows (B nW, w^2, C).
    """
    branch = branch if partition else from_windows(branch, geometry)
    total = x + per_image(scale, x) * branch
    normed = F.layer_norm(total, weight.shape, weight, bias, eps)
    return total, to_windows(normed, geometry) if partition else normed


def window_attention(
    qkv: Tensor, bias: Tensor, rows: int, columns: int, window: int, shift: int
) -> Tensor:
    """Softmax attention in each window (B nW, N, 3 C) -> (B nW, N, C), N = w^2.

    Args:
        qkv (Tensor): Query, key and value, each as h heads of C / h channels.
        bias (Tensor): Added to the scores (h, N, N).
        rows (int): Rows of windows in an image.
        columns (int): Columns of windows in an image; nW = rows * columns.
        window (int): Window side w.
        shift (int): Shift of the grid: tokens that it brought together from opposite edges of the
            image get -100 between them.
    """
    heads = bias.shape[0]
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # each B nW, h, N, C / h
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + bias
    if shift:
        side = torch.arange(window, device=qkv.device) >= window - shift
        last_row = torch.arange(rows, device=qkv.device) == rows - 1
        last_column = torch.arange(columns, device=qkv.device) == columns - 1
        low = (last_row[:, None] & side)[:, None, :, None]
        right = (last_column[:, None] & side)[None, :, None, :]
        region = (2 * low + 1 * right).flatten(0, 1).flatten(1)  # nW, N
        apart = region[:, :, None] != region[:, None]
        mask = -100.0 * apart.to(scores.dtype)[:, None]
        scores = (scores.unflatten(0, (-1, rows * columns)) + mask).flatten(0, 1)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def split_heads(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """[q, k, v] (B, N, 3 C) as three tensors (B, h, N, C / h)."""
    q, k, v = (part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in qkv.chunk(3, -1))
    return q, k, v


def project_patches(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Images (B, 3, h p, w p) and a weight (C, 3, p, p) to patches (B, h, w, C)."""
    return F.conv2d(images, weight, bias, stride=weight.shape[-1]).permute(0, 2, 3, 1)


def mlp(
    x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor, act: str
) -> Tensor:
    """``phi(x W_1^T + b_1) W_2^T + b_2``: (..., C) -> (..., D) through hidden channels."""
    return F.linear(activation(F.linear(x, weight1, bias1), act), weight2, bias2)


def block_tail(
    x: Tensor,
    attended: Tensor,
    scales: tuple[Tensor | None, Tensor | None],
    proj: tuple[Tensor, Tensor],
    norm: tuple[Tensor, Tensor, float],
    hidden: tuple[Tensor, Tensor, Tensor, Tensor],
    next_norm: tuple[Tensor, Tensor, float],
    act: str,
    geometry: Geometry,
    following: Geometry,
    partition: bool,
) -> tuple[Tensor, Tensor]:
    """All of a block behind its attention, and the next block's norm.

    Args:
        x (Tensor): Residual stream (B, H, W, C), or (B, N, C) without windows.
        attended (Tensor): Windows (B nW, w^2, C), or tokens, before the output projection.
        scales (tuple): Of each image's two branches (B,); None for 1.
        proj (tuple): Weight (C, C) and bias (C,) of the output projection.
        norm (tuple): Weight (C,), bias (C,) and epsilon of the norm before the MLP.
        hidden (tuple): Weights and biases of the :func:`mlp`.
        next_norm (tuple): As ``norm``, of the next block's.
        act (str): Activation of the MLP.
        geometry (Geometry): Of this block's windows.
        following (Geometry): Of the next block's.
        partition (bool): Whether the next block wants windows.
    """
    branch = F.linear(attended, *proj)
    total, normed = merge_norm(x, branch, scales[0], *norm, geometry)
    branch = mlp(normed, *hidden, act)
    return merge_norm(total, branch, scales[1], *next_norm, following, partition)


def chart_activations(
    x: Tensor,
    gamma: Tensor,
    weight: Tensor,
    bias: Tensor,
    act: str,
    spatial: Tensor | None = None,
    grid: tuple[int, int] = (1, 1),
    prefix: int = 0,
) -> Tensor:
    """``phi(DW_h(W_h (gamma_h * x) + b_h))`` of each chart h: (B, N, C) -> (B, N, H, d).

    Args:
        x (Tensor): Tokens.
        gamma (Tensor): Gamma (H, C).
        weight (Tensor): Weight of the charts (H, d, C).
        bias (Tensor): Their bias (H, d).
        act (str): The activation phi.
        spatial (Tensor, optional): Depthwise weights of DW (H d, 1, K, K), zero padding.
        grid (tuple[int, int]): Rows and columns of the tokens behind the prefix.
        prefix (int): Tokens that DW leaves as they are.
    """
    z = torch.einsum('bnc,hc,hdc->bnhd', x, gamma, weight) + bias
    if spatial is not None:
        cells = z[:, prefix:].flatten(2).transpose(1, 2).unflatten(2, grid)
        cells = F.conv2d(cells, spatial, padding=spatial.shape[-1] // 2, groups=len(spatial))
        cells = cells.flatten(2).transpose(1, 2).unflatten(2, z.shape[2:])
        z = torch.cat([z[:, :prefix], cells], dim=1)
    return activation(z, act)


def join_key(
    x: Tensor,
    qv_weight: Tensor,
    qv_bias: Tensor | None,
    base_weight: Tensor | None,
    base_bias: Tensor | None,
    charts: Tensor,
) -> Tensor:
    """[q, base + charts, v] (B, N, 3 d) of tokens (B, N, C) and aggregated charts (B, N, d)."""
    q, v = F.linear(x, qv_weight, qv_bias).chunk(2, dim=-1)
    key = charts if base_weight is None else charts + F.linear(x, base_weight)
    return torch.cat([q, key if base_bias is None else key + base_bias, v], dim=-1)


def aggregate_charts(
    x: Tensor,
    parameters: KeyParameters,
    num_charts: int,
    act: str,
    scale: Tensor | None = None,
    gate: Tensor | None = None,
    spatial: Tensor | None = None,
    grid: tuple[int, int] = (1, 1),
    prefix: int = 0,
) -> Tensor:
    """Query, key and value (B, N, 3 d), the key with charts that are added up.

    ``key = base + scale * sum_h gate_h z_h``, with 1 / H for the gate where there is none.
    Arguments as in :func:`mkbackbones.kernels.charts.aggregate_charts`.
    """
    qv_weight, qv_bias, base_weight, base_bias, gamma, weight, bias = parameters
    z = chart_activations(x, gamma, weight, bias, act, spatial, grid, prefix)
    charts = z.mean(2) if gate is None else (gate[..., None] * z).sum(2)
    scaled = charts if scale is None else scale * charts
    return join_key(x, qv_weight, qv_bias, base_weight, base_bias, scaled)


def project_charts(x: Tensor, parameters: KeyParameters, proj: Tensor, act: str) -> Tensor:
    """Query, key and value (B, N, 3 d), the key with charts behind one linear map ``proj``.

    ``key = base + proj [z_1 .. z_H]`` for ``proj`` (d, H d'). Arguments as in
    :func:`mkbackbones.kernels.projected_charts.project_charts`.
    """
    qv_weight, qv_bias, base_weight, base_bias, gamma, weight, bias = parameters
    z = chart_activations(x, gamma, weight, bias, act)
    return join_key(x, qv_weight, qv_bias, base_weight, base_bias, z.flatten(2) @ proj.T)
