"""Linear layers and MLPs in half precision, of parameters in full precision.

Autocast casts each parameter, and each gradient, on its own, and autograd keeps several nodes for
each layer: together they keep the CPU busy longer than the GPU. Here a layer or an MLP is one node,
its parameters are cast in one call, and the gradients of weights come out of their matrix products
in full precision.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..compat.modes import is_compiling
from .activation import activate, activate_again, served_name
from .casts import half_copies

#: Whether matrix products can return another type than their operands have (torch 2.8, CUDA).
WIDE_PRODUCTS = 'dtype' in torch.ops.aten.mm.overloads()


def weight_gradient(dy: Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
    """``dy^T x`` for tokens (N, C) and gradients (N, D), in the type of the parameter."""
    if WIDE_PRODUCTS and dy.is_cuda and dtype == torch.float32 != dy.dtype:
        return torch.mm(dy.T, x, out_dtype=dtype)
    return torch.mm(dy.T, x).to(dtype)


def linear_gradients(
    dy: Tensor, x: Tensor, weight: Tensor, dtype: torch.dtype, needed: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of a Linear's input, weight and bias, as far as they are needed.

    Args:
        dy (Tensor): Gradient of the output (N, D), half precision.
        x (Tensor): Input (..., C), half precision.
        weight (Tensor): Weight (D, C), half precision.
        dtype (torch.dtype): Type of the parameters.
        needed (Sequence[bool]): Whether each of the three is needed.
    """
    of_x, of_weight, of_bias = needed
    return (
        torch.mm(dy, weight).view(x.shape) if of_x else None,
        weight_gradient(dy, x.flatten(0, -2), dtype) if of_weight else None,
        dy.sum(0, dtype=dtype) if of_bias else None,
    )


def mlp_gradients(
    dy: Tensor,
    x: Tensor,
    z: Tensor,
    weights: tuple[Tensor, Tensor],
    act: str,
    dtype: torch.dtype,
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Gradients of an MLP's input, weights and biases, as :func:`linear_gradients`.

    The activated hidden tokens are not kept: they are worked out again from ``z`` before it.
    """
    dz = torch.mm(dy, weights[1])
    hidden = activate_again(z.flatten(0, -2), dz, act, inplace=False)
    second = linear_gradients(dy, hidden, weights[1], dtype, (False, *needed[3:]))
    return *linear_gradients(dz, x, weights[0], dtype, needed[:3]), *second[1:]


class HalfLinear(torch.autograd.Function):
    """``x W^T + b`` for ``x`` in half precision."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.dtype = weight.dtype
        weight, bias = half_copies(x.dtype, weight, bias)
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return linear_gradients(dy.flatten(0, -2), x, weight, ctx.dtype, ctx.needs_input_grad)


class HalfMlp(torch.autograd.Function):
    """Two Linears with an activation between, for ``x`` in half precision."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight1: Tensor,
        bias1: Tensor | None,
        weight2: Tensor,
        bias2: Tensor | None,
        act: nn.Module,
    ) -> Tensor:
        ctx.act, ctx.dtype = served_name(act), weight1.dtype
        weight1, bias1, weight2, bias2 = half_copies(x.dtype, weight1, bias1, weight2, bias2)
        z = F.linear(x, weight1, bias1)
        ctx.save_for_backward(x, z, weight1, weight2)
        return F.linear(act(z), weight2, bias2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, z, *weights = ctx.saved_tensors
        needed = ctx.needs_input_grad[:5]
        dy = dy.flatten(0, -2)
        return *mlp_gradients(dy, x, z, weights, ctx.act, ctx.dtype, needed), None


def is_wide(module: nn.Module) -> bool:
    """Whether a Linear's weight is in full precision, and has to be cast."""
    return module.weight.dtype == torch.float32


def builds_graph() -> bool:
    """Whether PyTorch keeps a graph for a backward pass, and nobody traces it."""
    return torch.is_grad_enabled() and not is_compiling()


def half_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x W^T + b`` for ``x`` in half precision and parameters in any."""
    if is_compiling():
        return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
    if torch.is_grad_enabled():
        return HalfLinear.apply(x, weight, bias)
    return F.linear(x, *half_copies(x.dtype, weight, bias))


def activated_product(x: Tensor, weight: Tensor, bias: Tensor | None, act: str) -> Tensor:
    """``phi(x W^T + b)`` in half precision, where nothing before phi has to be kept.

    Args:
        x (Tensor): Tokens (..., C).
        weight (Tensor): (D, C).
        bias (Tensor, optional): (D,).
        act (str): Activation phi.

    Returns:
        Tensor: (..., D).
    """
    z = F.linear(x, weight, bias)
    activate(z, act)
    return z


def half_linear(module: nn.Linear, x: Tensor) -> Tensor:
    """``module(x)`` for ``x`` in half precision.

    Under ``torch.compile``, which fuses the casts itself, and without casts it is called as it is.
    """
    if is_compiling() or not is_wide(module):
        return module(x)
    return half_product(x, module.weight, module.bias)


def half_mlp(module: Mlp, x: Tensor) -> Tensor:
    """``module(x)`` for a timm MLP without dropout and norm, and ``x`` in half precision."""
    fc1: Any = module.fc1  # a Linear, also where timm types a convolution: exact.py refuses it
    fc2: Any = module.fc2
    act = module.act
    if is_compiling() or not (is_wide(fc1) and is_wide(fc2)):
        return half_linear(fc2, act(half_linear(fc1, x)))
    if not torch.is_grad_enabled():
        halves = half_copies(x.dtype, fc1.weight, fc1.bias, fc2.weight, fc2.bias)
        hidden = activated_product(x, halves[0], halves[1], served_name(act))
        return F.linear(hidden, *halves[2:])
    return HalfMlp.apply(x, fc1.weight, fc1.bias, fc2.weight, fc2.bias, act)
