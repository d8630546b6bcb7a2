"""From a manifold key's parameters to its operator, and from its gradients back, as one node.

Autocast casts each parameter, and each gradient, on its own, and autograd keeps a node for each:
small work that keeps the CPU busy longer than the GPU.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .casts import copy_pairs, half_copies, half_thirds, thirds


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


class ChartOperator(NamedTuple):
    """An operator that multiplies tokens with projections.

    Projections are weight (3 d, C) and bias (3 d,) or None of query, base chart and value, weight
    (H d', C) and bias (H d',) of the charts, Gamma folded in; all in the type of the tokens.

    Attributes:
        forward (Callable): ``forward(x, *projections, *tensors, *settings)`` -> (B, N, 3 d).
        backward (Callable): ``backward(dqkv, x, qkv_weight, weight, bias, *tensors, *settings)`` ->
            gradients of tokens, projections and tensors.
        traced (Callable): ``forward`` for ``torch.compile``, differentiable.
    """

    forward: Callable
    backward: Callable
    traced: Callable


def fuse_projections(
    qv_weight: Tensor, qv_bias: Tensor | None, key_weight: Tensor, key_bias: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Weight (3 d, C) and bias of query, key and value from those of query and value, and a key."""
    q, v = qv_weight.chunk(2)
    weight = torch.cat([q, key_weight, v])
    if qv_bias is None and key_bias is None:
        return weight, None
    if key_bias is None:
        key_bias = weight.new_zeros(key_weight.shape[0])
    if qv_bias is None:
        qv_bias = weight.new_zeros(2 * key_weight.shape[0])
    q, v = qv_bias.chunk(2)
    return weight, torch.cat([q, key_bias, v])


def chart_map(gamma: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """All charts as one matrix (H d', C), Gamma folded in, and one bias (H d',)."""
    return (weight * gamma[:, None]).flatten(0, 1), bias.flatten()


def half_scaled(dtype: torch.dtype, weight: Tensor, scale: Tensor) -> Tensor:
    """``scale[:, None] * weight``, worked out in full precision and rounded once."""
    scaled = torch.empty_like(weight, dtype=dtype)
    return torch.mul(weight, scale[:, None], out=scaled)


def scaled_gradients(dscaled: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of ``weight`` and ``scale`` behind :func:`half_scaled`."""
    return dscaled * scale[:, None], (dscaled * weight).sum(1)


def half_projections(
    dtype: torch.dtype, parameters: KeyParameters
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """The projections in half precision; the base chart's part is zero without one."""
    qv_weight, qv_bias, base_weight, base_bias, gamma, weight, bias = parameters
    qkv_weight = half_thirds(dtype, qv_weight, base_weight)
    if qv_bias is None and base_bias is not None:
        qv_bias = qv_weight.new_zeros(qv_weight.shape[0])
    qkv_bias = None if qv_bias is None else half_thirds(dtype, qv_bias, base_bias)
    charts = half_scaled(dtype, weight, gamma)
    (charts_bias,) = half_copies(dtype, bias)
    return qkv_weight, qkv_bias, charts.flatten(0, 1), charts_bias.flatten()


def traced_projections(
    dtype: torch.dtype, parameters: KeyParameters
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """:func:`half_projections` as ``torch.compile`` can differentiate and fuse it."""
    qv_weight, qv_bias, base_weight, base_bias, gamma, weight, bias = parameters
    if base_weight is None:
        base_weight = torch.zeros_like(qv_weight.chunk(2)[0])
    fused = fuse_projections(qv_weight, qv_bias, base_weight, base_bias)
    projections = *fused, *chart_map(gamma, weight, bias)
    return tuple(None if t is None else t.to(dtype) for t in projections)


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
    pairs = [(b, a) for a, b in thirds(dqkv_weight, dqv_weight, dbase_weight)]
    pairs += [(b, a) for a, b in thirds(dqkv_bias, dqv_bias, dbase_bias)]
    pairs.append((dbias, dcharts_bias))
    copy_pairs(pairs)
    dweight, dgamma = scaled_gradients(dcharts.view_as(weight), weight, gamma)
    dbias = dbias.view(weight.shape[:2])
    return dqv_weight, dqv_bias, dbase_weight, dbase_bias, dgamma, dweight, dbias


class ChartedProjection(torch.autograd.Function):
    """A :class:`ChartOperator` as a function of the key's parameters."""

    @staticmethod
    def forward(
        ctx, operator: ChartOperator, settings: tuple, x: Tensor, *inputs: Tensor | None
    ) -> Tensor:
        parameters, tensors = KeyParameters(*inputs[:7]), inputs[7:]
        projections = half_projections(x.dtype, parameters)
        qkv_weight, _, charts, charts_bias = projections
        ctx.operator, ctx.settings = operator, settings
        saved = qkv_weight, charts, charts_bias
        ctx.save_for_backward(x, *saved, parameters.gamma, parameters.weight, *tensors)
        return operator.forward(x, *projections, *tensors, *settings)

    @staticmethod
    @once_differentiable
    def backward(ctx, dqkv: Tensor) -> tuple[Tensor | None, ...]:
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
    parameters: KeyParameters,
    tensors: tuple[Tensor | None, ...],
    settings: tuple,
) -> Tensor:
    """Query, key and value (B, N, 3 d) of tokens (B, N, C) in half precision.

    Args:
        operator (ChartOperator): What to run.
        x (Tensor): Tokens.
        parameters (KeyParameters): The key's parameters.
        tensors (tuple): Further tensors that the operator takes.
        settings (tuple): What it takes behind them.
    """
    if torch.compiler.is_compiling():
        projections = traced_projections(x.dtype, parameters)
        return operator.traced(x, *projections, *tensors, *settings)
    if torch.is_grad_enabled():
        return ChartedProjection.apply(operator, settings, x, *parameters, *tensors)
    return operator.forward(x, *half_projections(x.dtype, parameters), *tensors, *settings)


class ScaledRows(torch.autograd.Function):
    """:func:`scaled_rows` as one node."""

    @staticmethod
    def forward(ctx, dtype: torch.dtype, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return half_scaled(dtype, weight, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, dscaled: Tensor) -> tuple[Tensor | None, ...]:
        return None, *scaled_gradients(dscaled, *ctx.saved_tensors)


def scaled_rows(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """``diag(scale) W`` in half precision."""
    if torch.compiler.is_compiling():
        return (scale[:, None] * weight).to(dtype)
    if not torch.is_grad_enabled():
        return half_scaled(dtype, weight, scale)
    return ScaledRows.apply(dtype, weight, scale)
