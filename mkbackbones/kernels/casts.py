"""The parameters of charts in half precision, and their gradients back, in few calls.

Autocast casts each parameter, and each gradient, on its own: small kernels that keep the CPU busy
longer than the GPU.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Projections(torch.autograd.Function):
    """What the chart operators multiply tokens with, in half precision, from the parameters.

    ``[W_q, W_0, W_v]`` and its bias, ``W_h diag(gamma_h)`` and its bias; the base chart's part is
    zero without one.
    """

    @staticmethod
    def forward(
        ctx,
        dtype: torch.dtype,
        qv_weight: Tensor,
        qv_bias: Tensor | None,
        base_weight: Tensor | None,
        base_bias: Tensor | None,
        gamma: Tensor,
        weight: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        width = qv_weight.shape[0] // 2
        qkv_weight = qv_weight.new_empty(3 * width, qv_weight.shape[1], dtype=dtype)
        charts_bias = torch.empty_like(bias.flatten(), dtype=dtype)
        pairs = [*thirds(qkv_weight, qv_weight, base_weight), (charts_bias, bias.flatten())]
        qkv_bias = None
        if qv_bias is not None or base_bias is not None:
            qkv_bias = qv_weight.new_empty(3 * width, dtype=dtype)
            pairs += thirds(qkv_bias, qv_bias, base_bias)
        for to, source in pairs:
            if source is None:
                to.zero_()
        present = [(to, source) for to, source in pairs if source is not None]
        torch._foreach_copy_(*map(list, zip(*present)))
        charts = torch.empty_like(weight, dtype=dtype)
        torch.mul(weight, gamma[:, None], out=charts)
        ctx.save_for_backward(gamma, weight)
        ctx.set_materialize_grads(False)
        return qkv_weight, qkv_bias, charts.flatten(0, 1), charts_bias

    @staticmethod
    @once_differentiable
    def backward(
        ctx,
        dqkv_weight: Tensor,
        dqkv_bias: Tensor | None,
        dcharts: Tensor,
        dcharts_bias: Tensor,
    ) -> tuple[Tensor | None, ...]:
        gamma, weight = ctx.saved_tensors
        _, _, qv_bias, base_weight, base_bias, *_ = ctx.needs_input_grad
        width = dqkv_weight.shape[0] // 3
        dqv_weight = weight.new_empty(2 * width, dqkv_weight.shape[1])
        dbase_weight = weight.new_empty(width, dqkv_weight.shape[1]) if base_weight else None
        dbias = torch.empty_like(dcharts_bias, dtype=weight.dtype)
        pairs = [(b, a) for a, b in thirds(dqkv_weight, dqv_weight, dbase_weight)]
        pairs.append((dbias, dcharts_bias))
        dqv_bias = weight.new_empty(2 * width) if qv_bias else None
        dbase_bias = weight.new_empty(width) if base_bias else None
        if dqkv_bias is not None:
            pairs += [(b, a) for a, b in thirds(dqkv_bias, dqv_bias, dbase_bias)]
        present = [(to, source) for to, source in pairs if to is not None]
        torch._foreach_copy_(*map(list, zip(*present)))
        dcharts = dcharts.view_as(weight)
        dgamma = (dcharts * weight).sum(1)
        dweight = dcharts * gamma[:, None]
        dbias = dbias.view(weight.shape[:2])
        return None, dqv_weight, dqv_bias, dbase_weight, dbase_bias, dgamma, dweight, dbias


def thirds(
    fused: Tensor, qv: Tensor | None, key: Tensor | None
) -> list[tuple[Tensor, Tensor | None]]:
    """Query, key and value part of a fused tensor, each with the parameter that it belongs to."""
    q, k, v = fused.chunk(3)
    of_q, of_v = (None, None) if qv is None else qv.chunk(2)
    return [(q, of_q), (k, key), (v, of_v)]


class ScaledRows(torch.autograd.Function):
    """``diag(scale) W`` in half precision."""

    @staticmethod
    def forward(ctx, dtype: torch.dtype, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        scaled = torch.empty_like(weight, dtype=dtype)
        return torch.mul(weight, scale[:, None], out=scaled)

    @staticmethod
    @once_differentiable
    def backward(ctx, dscaled: Tensor) -> tuple[Tensor | None, ...]:
        weight, scale = ctx.saved_tensors
        return None, dscaled * scale[:, None], (dscaled * weight).sum(1)
