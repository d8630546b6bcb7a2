"""Parameters in half precision, many at a time.

Autocast casts each parameter, and each gradient, on its own: hundreds of small kernels a step,
which keep the CPU busy longer than the GPU. Here one call casts what a block needs.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class HalfCopies(torch.autograd.Function):
    """Copies of tensors in another type, the gradients cast back in one go."""

    @staticmethod
    def forward(ctx, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.dtypes = [tensor.dtype for tensor in tensors]
        ctx.set_materialize_grads(False)
        copies = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
        torch._foreach_copy_(copies, tensors)
        frozen = [c for c, wanted in zip(copies, ctx.needs_input_grad[1:]) if not wanted]
        ctx.mark_non_differentiable(*frozen)
        return tuple(copies)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        cast: list[Tensor | None] = [
            None if grad is None else torch.empty_like(grad, dtype=dtype)
            for grad, dtype in zip(grads, ctx.dtypes)
        ]
        present = [(to, grad) for to, grad in zip(cast, grads) if grad is not None]
        if present:
            torch._foreach_copy_(*map(list, zip(*present)))
        return None, *cast


class HalfLinears:
    """Applies Linears with weights that were cast together.

    Args:
        modules (Sequence[nn.Module]): The Linears. Other modules, those with hooks and all of them
            under ``torch.compile`` (which fuses the casts itself) are called as they are.
        dtype (torch.dtype): The half precision.
    """

    def __init__(self, modules: Sequence[nn.Module], dtype: torch.dtype) -> None:
        plain = [] if torch.compiler.is_compiling() else [m for m in modules if is_plain(m)]
        tensors = [t for m in plain for t in (m.weight, m.bias) if t is not None]
        copies = iter(HalfCopies.apply(dtype, *tensors) if tensors else ())
        self.weights = {m: (next(copies), None if m.bias is None else next(copies)) for m in plain}

    def __call__(self, module: nn.Module, x: Tensor) -> Tensor:
        """``module(x)`` for ``x`` in the half precision."""
        weights = self.weights.get(module)
        return module(x) if weights is None else F.linear(x, *weights)


def is_plain(module: nn.Module) -> bool:
    """Whether a module is a Linear, in full precision, that nothing listens to."""
    return (
        type(module) is nn.Linear
        and module.weight.dtype == torch.float32
        and not module._forward_hooks
        and not module._forward_pre_hooks
    )


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
