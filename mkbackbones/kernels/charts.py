"""Query, manifold key and value in one operator that keeps no charts for the backward pass.

The charts' pre-activations z (B, N, H d) are H times as large as the tokens. Here they live for one
forward call and are computed again, by one matrix product, in the backward pass.
"""

from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from ..compat.operators import custom_op
from .chart_kernels import charts_backward, charts_forward
from .launch import ceil_div, launch, num_groups
from .neighbourhood_kernels import spatial_backward, spatial_backward_3x3
from .projections import ChartOperator, KeyWeights, project

#: Tokens and channels that a program works on, and its warps, without and with a neighbourhood.
TUNING = {'forward': ((64, 64, 8), (64, 32, 4)), 'backward': ((64, 32, 4), (64, 32, 4))}
#: The same of the kernels for the neighbourhood's gradients, of any size and of 3x3, and how many
#: programs they start for each multiprocessor: each sums up weight gradients of its own.
SPATIAL_TUNING = ((64, 16, 1, 48), (16, 64, 4, 8))


def channel_block(channels: int, largest: int) -> int:
    """Channels a program works on: as many as waste no lanes, up to ``largest``."""
    return largest if channels % largest == 0 or channels > 4 * largest else largest // 2


class Plan:
    """Sizes and compile-time arguments of the chart kernels for one set of inputs.

    Args:
        kernel (str): Which entry of ``TUNING`` to use.
        x (Tensor): Tokens (B, N, C).
        num_charts (int): Charts H.
        key_channels (int): Key channels d.
        spatial (Tensor, optional): Depthwise weights (H d, 1, K, K).
        gate (Tensor, optional): Chart membership (B, N, H).
        scale (Tensor, optional): Output scale (d,).
        act (str): Name of the activation.
        grid (tuple[int, int]): Rows and columns of the token grid.
        prefix (int): Tokens before the grid.
    """

    def __init__(
        self,
        kernel: str,
        x: Tensor,
        num_charts: int,
        key_channels: int,
        spatial: Tensor | None,
        gate: Tensor | None,
        scale: Tensor | None,
        act: str,
        grid: tuple[int, int],
        prefix: int,
    ) -> None:
        self.total = x.shape[0] * x.shape[1]
        tile, block, warps = TUNING[kernel][spatial is not None]
        self.num_tiles = ceil_div(self.total, tile)
        block = channel_block(key_channels, block)
        self.programs = self.num_tiles, ceil_div(key_channels, block)
        self.sizes = x.shape[1], self.total, *grid, prefix
        self.kernel = 0 if spatial is None else spatial.shape[-1]
        self.constants = dict(
            H=num_charts,
            D=key_channels,
            KERNEL=self.kernel,
            ACT=act,
            GATED=gate is not None,
            SCALED=scale is not None,
            TILE=tile,
            BLOCK=block,
            num_warps=warps,
        )


def run_charts(
    x: Tensor,
    qkv_weight: Tensor,
    qkv_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    spatial: Tensor | None,
    gate: Tensor | None,
    scale: Tensor | None,
    num_charts: int,
    act: str,
    grid_height: int,
    grid_width: int,
    prefix: int,
) -> Tensor:
    """Query, key and value (B, N, 3 d): two products, then the charts' kernel.

    Args:
        x (Tensor): Tokens (B, N, C).
        qkv_weight (Tensor): Of query, base chart and value (3 d, C).
        qkv_bias (Tensor, optional): (3 d,).
        weight (Tensor): Of the charts (H d, C), Gamma folded in.
        bias (Tensor): Of the charts (H d,).
        spatial (Tensor, optional): Depthwise weights (H d, 1, K, K).
        gate (Tensor, optional): Weight of each chart (B, N, H).
        scale (Tensor, optional): Output scale (d,).
        num_charts (int): Charts H.
        act (str): Activation of the charts.
        grid_height (int): Rows of the token grid.
        grid_width (int): Columns of the token grid.
        prefix (int): Tokens before the grid.
    """
    key_channels = weight.shape[0] // num_charts
    plan = Plan(
        'forward',
        x,
        num_charts,
        key_channels,
        spatial,
        gate,
        scale,
        act,
        (grid_height, grid_width),
        prefix,
    )
    z = F.linear(x, weight, bias)
    qkv = F.linear(x, qkv_weight, qkv_bias)
    if plan.total:
        launch(
            charts_forward,
            plan.programs,
            [z, taps_first(spatial), gate, scale, qkv, *plan.sizes],
            plan.constants,
        )
    return qkv


run_charts_op = custom_op('mkbackbones::charts')(run_charts)


@run_charts_op.register_fake
def _(x: Tensor, qkv_weight: Tensor, *unused: Any) -> Tensor:
    return x.new_empty(*x.shape[:-1], qkv_weight.shape[0])


def run_charts_backward(
    dqkv: Tensor,
    x: Tensor,
    qkv_weight: Tensor,
    weight: Tensor,
    bias: Tensor,
    spatial: Tensor | None,
    gate: Tensor | None,
    scale: Tensor | None,
    num_charts: int,
    act: str,
    grid_height: int,
    grid_width: int,
    prefix: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`run_charts`; the pre-activations are worked out again.

    Args:
        dqkv (Tensor): Gradient of query, key and value (B, N, 3 d).
        x (Tensor): As in :func:`run_charts`, and so on.

    Returns:
        tuple: Gradients of ``x``, ``qkv_weight``, ``qkv_bias``, ``weight``, ``bias``, ``spatial``,
        ``gate`` and ``scale``; empty for the last three where there are none.
    """
    channels = weight.shape[0]
    key_channels = channels // num_charts
    plan = Plan(
        'backward',
        x,
        num_charts,
        key_channels,
        spatial,
        gate,
        scale,
        act,
        (grid_height, grid_width),
        prefix,
    )
    dqkv = dqkv.contiguous()
    z = F.linear(x, weight, bias).flatten(0, 1)
    float32 = torch.float32
    small = plan.kernel == 3
    tile, block, warps, programs = SPATIAL_TUNING[small]
    groups = plan.num_tiles
    if plan.kernel:
        block = channel_block(channels, block)
        share = programs / ceil_div(channels, block)
        groups = num_groups(ceil_div(plan.total, tile), x.device, share)
    du = torch.empty_like(z) if plan.kernel else z
    dgate = x.new_empty(
        plan.programs[1] if gate is not None else 0, *x.shape[:2], num_charts, dtype=float32
    )
    dscale = x.new_empty(plan.num_tiles if scale is not None else 0, key_channels, dtype=float32)
    dbias = x.new_empty(groups, channels, dtype=float32)
    taps = taps_first(spatial)
    launch(
        charts_backward,
        plan.programs,
        [z, taps, gate, scale, dqkv, du, dgate, dscale, dbias, *plan.sizes],
        plan.constants,
    )
    dspatial = x.new_empty(0)
    if spatial is not None and taps is not None:
        dspatial = x.new_empty(groups, *taps.shape, dtype=float32)
        constants = dict(CHANNELS=channels)
        if not small:
            constants.update(KERNEL=plan.kernel, TAPS=triton.next_power_of_2(plan.kernel**2))
        launch(
            spatial_backward_3x3 if small else spatial_backward,
            (groups, ceil_div(channels, block)),
            [du, taps, z, dspatial, dbias, *plan.sizes],
            dict(constants, TILE=tile, BLOCK=block, num_warps=warps),
        )
        del du
        dspatial = dspatial.sum(0).T.to(spatial.dtype).reshape(spatial.shape)
    dx, dqkv_weight, dqkv_bias, dweight = projection_gradients(x, dqkv, qkv_weight, z, weight)
    dgate = dgate.sum(0).to(gate.dtype) if gate is not None else dgate
    dscale = dscale.sum(0).to(scale.dtype) if scale is not None else dscale
    return (
        dx,
        dqkv_weight,
        dqkv_bias,
        dweight,
        dbias.sum(0).to(bias.dtype),
        dspatial,
        dgate,
        dscale,
    )


def taps_first(spatial: Tensor | None) -> Tensor | None:
    """Depthwise weights (H d, 1, K, K) as (K^2, H d), which the kernels read without gaps.

    In float32, which spares the kernels a conversion for each value and tap.
    """
    return None if spatial is None else spatial.flatten(1).T.float().contiguous()


def projection_gradients(
    x: Tensor, dqkv: Tensor, qkv_weight: Tensor, dz: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of tokens, qkv weight and bias, and chart weight, of ``x`` (B, N, C)."""
    tokens, dqkv = x.flatten(0, 1), dqkv.flatten(0, 1)
    dx = torch.addmm(dz @ weight, dqkv, qkv_weight).view_as(x)
    return dx, dqkv.T @ tokens, dqkv.sum(0), dz.T @ tokens


def empty_or_like(tensor: Tensor | None, x: Tensor) -> Tensor:
    """Fake gradient of an optional input."""
    return x.new_empty(0) if tensor is None else torch.empty_like(tensor)


run_charts_backward_op = custom_op('mkbackbones::charts_backward')(run_charts_backward)


@run_charts_backward_op.register_fake
def _(
    dqkv: Tensor,
    x: Tensor,
    qkv_weight: Tensor,
    weight: Tensor,
    bias: Tensor,
    spatial: Tensor | None,
    gate: Tensor | None,
    scale: Tensor | None,
    *unused: Any,
) -> tuple[Tensor, ...]:
    return (
        torch.empty_like(x),
        torch.empty_like(qkv_weight),
        qkv_weight.new_empty(qkv_weight.shape[0]),
        torch.empty_like(weight),
        torch.empty_like(bias),
        empty_or_like(spatial, x),
        empty_or_like(gate, x),
        empty_or_like(scale, x),
    )


def charts_setup(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, qkv_weight, qkv_bias, weight, bias, spatial, gate, scale, *ctx.settings = inputs
    ctx.save_for_backward(x, qkv_weight, weight, bias, spatial, gate, scale)
    ctx.has_qkv_bias = qkv_bias is not None


def charts_gradients(ctx: Any, dqkv: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    dx, dqkv_weight, dqkv_bias, *rest = run_charts_backward_op(dqkv, *saved, *ctx.settings)
    dweight, dbias, *optional = rest
    optional = [None if t is None else g for t, g in zip(saved[4:], optional)]
    dqkv_bias = dqkv_bias if ctx.has_qkv_bias else None
    return dx, dqkv_weight, dqkv_bias, dweight, dbias, *optional, None, None, None, None, None


run_charts_op.register_autograd(charts_gradients, setup_context=charts_setup)
chart_operator = ChartOperator(run_charts, run_charts_backward, run_charts_op)


def aggregate_charts(
    x: Tensor,
    parameters: KeyWeights,
    num_charts: int,
    act: str,
    scale: Tensor | None = None,
    gate: Tensor | None = None,
    spatial: Tensor | None = None,
    grid: tuple[int, int] = (1, 1),
    prefix: int = 0,
) -> Tensor:
    """Query, key and value, the key with charts that are added up: mean, gated or spatial.

    Args:
        x (Tensor): Tokens (B, N, C), in the half precision to work in.
        parameters (KeyWeights): Parameters of query, value and key.
        num_charts (int): Charts H.
        act (str): As :func:`~mkbackbones.kernels.activation.activation_name` gives.
        scale (Tensor, optional): Output scale of the charts (d,).
        gate (Tensor, optional): Weight of each chart (B, N, H); without it their mean.
        spatial (Tensor, optional): Depthwise weights (H d, 1, K, K).
        grid (tuple[int, int]): Rows and columns of the token grid, with ``spatial``.
        prefix (int): Tokens before the grid.

    Returns:
        Tensor: (B, N, 3 d).
    """
    settings = num_charts, act, *grid, prefix
    return project(chart_operator, x, parameters, (spatial, gate, scale), settings)
