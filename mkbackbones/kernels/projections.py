"""From a manifold key's parameters to its operator, and from its gradients back, as one node.

Autocast casts each parameter, and each gradient, on its own, and autograd keeps a node for each:
small work that keeps the CPU busy longer than the GPU.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..compat.modes import is_compiling
from .casts import copy_pairs, half_copies, half_qkv, qkv_parts


class KeyParameters(NamedTuple):
    """Parameters of query, value and a manifold key, in full precision.

    Attributes:
        qv_weight (Tensor): Weight of query and value (2 d, C).
        qv_bias (Tensor | None): Their bias (2 d,).
        base_weight (Tensor | None): Weight of the base chart (d, C).
        base_bias (Tensor | None): What is added to the key (d,).
        gamma (Tensor): Gamma (H, C).
        weight (Tensor): Weight of the charts (H, d', C).
        bias (Tensor): Their bias (H, d').
    """

    qv_weight: Tensor
    qv_bias: Tensor | None
    base_weight: Tensor | None
    base_bias: Tensor | None
    gamma: Tensor
    weight: Tensor
    bias: Tensor


class Projections(NamedTuple):
    """What tokens are multiplied with, joined from :class:`KeyParameters`.

    Attributes:
        qkv_weight (Tensor): Weight of query, base chart and value (3 d, C); zeros for no chart.
        qkv_bias (Tensor | None): Their bias (3 d,).
        charts (Tensor): Weight of the charts (H d', C), Gamma folded in.
        charts_bias (Tensor): Their bias (H d',).
    """

    qkv_weight: Tensor
    qkv_bias: Tensor | None
    charts: Tensor
    charts_bias: Tensor


#: What a key's kernels take: its parameters, or what is joined from them already.
KeyWeights = KeyParameters | Projections


class ChartOperator(NamedTuple):
    """An operator that multiplies tokens with :class:`Projections` in the type of the tokens.

    Attributes:
        forward (Callable): ``forward(x, *projections, *tensors, *settings)`` -> (B, N, 3 d).
        backward (Callable): ``backward(dqkv, x, qkv_weight, weight, bias, *tensors, *settings)`` ->
            gradients of tokens, projections and tensors.
        traced (Callable): ``forward`` for ``torch.compile``, differentiable.
    """

    forward: Callable
    backward: Callable
    traced: Callable


def half_scaled(dtype: torch.dtype, weight: Tensor, scale: Tensor) -> Tensor:
    """``scale[:, None] * weight``, worked out in full precision and rounded once."""
    scaled = torch.empty_like(weight, dtype=dtype)
    return torch.mul(weight, scale[:, None], out=scaled)


def scaled_gradients(dscaled: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of ``weight`` and ``scale`` behind :func:`half_scaled`."""
    return dscaled * scale[:, None], (dscaled * weight).sum(1)


def half_projections(dtype: torch.dtype, parameters: KeyParameters) -> Projections:
    """The projections in half precision; the base chart's part is zero without one."""
    qv_weight, qv_bias, base_weight, base_bias, gamma, weight, bias = parameters
    qkv_weight = half_qkv(dtype, qv_weight, base_weight)
    if qv_bias is None and base_bias is not None:
        qv_bias = qv_weight.new_zeros(qv_weight.shape[0])
    qkv_bias = None if qv_bias is None else half_qkv(dtype, qv_bias, base_bias)
    charts = half_scaled(dtype, weight, gamma)
    (charts_bias,) = half_copies(dtype, bias)
    return Projections(qkv_weight, qkv_bias, charts.flatten(0, 1), charts_bias.flatten())


def parameter_gradients(
    gamma: Tensor,
    weight: Tensor,
    needed: tuple[bool, ...],
    dqkv_weight: Tensor,
    dqkv_bias: Tensor,
    dcharts: Tensor,
    dcharts_bias: Tensor,
) -> tuple[Tensor | None, ...]:
    """Gradients of the :class:`KeyParameters` from those of the projections.

    Args:
        gamma (Tensor): Gamma.
        weight (Tensor): Weight of the charts.
        needed (tuple[bool, ...]): Which of the parameters need a gradient.
        dqkv_weight (Tensor): Gradient of the projections' weight; and so on.
    """
    _, qv_bias, base_weight, base_bias, *_ = needed
    width = dqkv_weight.shape[0] // 3
    dqv_weight = weight.new_empty(2 * width, dqkv_weight.shape[1])
    dbase_weight = weight.new_empty(width, dqkv_weight.shape[1]) if base_weight else None
    dbias = torch.empty_like(dcharts_bias, dtype=weight.dtype)
    dqv_bias = weight.new_empty(2 * width) if qv_bias else None
    dbase_bias = weight.new_empty(width) if base_bias else None
    pairs = [(b, a) for a, b in qkv_parts(dqkv_weight, dqv_weight, dbase_weight)]
    pairs += [(b, a) for a, b in qkv_parts(dqkv_bias, dqv_bias, dbase_bias)]
    pairs.append((dbias, dcharts_bias))
    copy_pairs(pairs)
    dweight, dgamma = scaled_gradients(dcharts.view_as(weight), weight, gamma)
    dbias = dbias.view(weight.shape[:2])
    return dqv_weight, dqv_bias, dbase_weight, dbase_bias, dgamma, dweight, dbias


class ChartedProjection(torch.autograd.Function):
    """A :class:`ChartOperator` as a function of the key's parameters."""

    @staticmethod
    def forward(
        ctx: Any, operator: ChartOperator, settings: tuple, x: Tensor, *inputs: Any
    ) -> Tensor:
        parameters, tensors = KeyParameters(*inputs[:7]), inputs[7:]
        projections = half_projections(x.dtype, parameters)
        qkv_weight, _, charts, charts_bias = projections
        ctx.operator, ctx.settings = operator, settings
        saved = qkv_weight, charts, charts_bias
        ctx.save_for_backward(x, *saved, parameters.gamma, parameters.weight, *tensors)
        qkv = operator.forward(x, *projections, *tensors, *settings)
        # F.linear gives a view, to which autograd lets nobody add a bias in place, as timm does.
        return torch.ops.aten._unsafe_view(qkv, qkv.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dqkv: Tensor) -> tuple[Tensor | None, ...]:
        x, qkv_weight, charts, charts_bias, gamma, weight, *tensors = ctx.saved_tensors
        dx, *grads = ctx.operator.backward(
            dqkv, x, qkv_weight, charts, charts_bias, *tensors, *ctx.settings
        )
        dparameters = parameter_gradients(gamma, weight, ctx.needs_input_grad[3:10], *grads[:4])
        dtensors = [None if t is None else grad for t, grad in zip(tensors, grads[4:])]
        return None, None, dx, *dparameters, *dtensors


def project(
    operator: ChartOperator,
    x: Tensor,
    parameters: KeyWeights,
    tensors: tuple[Tensor | None, ...],
    settings: tuple,
) -> Tensor:
    """Query, key and value (B, N, 3 d) of tokens (B, N, C) in half precision.

    Args:
        operator (ChartOperator): What to run.
        x (Tensor): Tokens.
        parameters (KeyWeights): The key's parameters; joined by the caller where
            ``torch.compile`` is to differentiate and fuse that.
        tensors (tuple): Further tensors that the operator takes.
        settings (tuple): What it takes behind them.
    """
    if isinstance(parameters, Projections):
        projections = (None if t is None else t.to(x.dtype) for t in parameters)
        return operator.traced(x, *projections, *tensors, *settings)
    if torch.is_grad_enabled():
        return ChartedProjection.apply(operator, settings, x, *parameters, *tensors)
    return operator.forward(x, *half_projections(x.dtype, parameters), *tensors, *settings)


class ScaledRows(torch.autograd.Function):
    """:func:`scaled_rows` as one node."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return half_scaled(dtype, weight, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dscaled: Tensor) -> tuple[Tensor | None, ...]:
        return None, *scaled_gradients(dscaled, *ctx.saved_tensors)


def scaled_rows(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """``diag(scale) W`` in half precision."""
    if is_compiling():
        return (scale[:, None] * weight).to(dtype)
    if not torch.is_grad_enabled():
        return half_scaled(dtype, weight, scale)
    return ScaledRows.apply(dtype, weight, scale)
