"""Activations inside the kernels, and kernels that only activate."""

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from .launch import launch

CHUNK = 4096


def activation_name(act: nn.Module | None) -> str | None:
    """The kernels' name of an activation, None for one that they do not know."""
    if act is None:
        return 'identity'
    if isinstance(act, nn.GELU):
        return 'gelu' if act.approximate == 'none' else None
    return {nn.ReLU: 'relu', nn.SiLU: 'silu'}.get(type(act))


@triton.jit
def activation(u, ACT: tl.constexpr):
    """phi(u) and its derivative."""
    if ACT == 'gelu':
        cdf = 0.5 * (1.0 + tl.math.erf(u * 0.7071067811865476))
        value = u * cdf
        slope = cdf + u * tl.exp(-0.5 * u * u) * 0.3989422804014327
    elif ACT == 'relu':
        value = tl.maximum(u, 0.0)
        slope = tl.where(u > 0, 1.0, 0.0)
    elif ACT == 'silu':
        sigmoid = 1.0 / (1.0 + tl.exp(-u))
        value = u * sigmoid
        slope = sigmoid * (1.0 + u * (1.0 - sigmoid))
    else:
        value = u
        slope = u * 0.0 + 1.0
    return value, slope


@triton.jit(do_not_specialize=['size'])
def activate_forward(z_ptr, size, ACT: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    z = tl.load(z_ptr + at, mask=at < size, other=0.0).to(tl.float32)
    value, _ = activation(z, ACT)
    tl.store(z_ptr + at, value.to(z_ptr.dtype.element_ty), mask=at < size)


@triton.jit(do_not_specialize=['size'])
def activate_backward(z_ptr, value_ptr, dvalue_ptr, size, ACT: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    z = tl.load(z_ptr + at, mask=at < size, other=0.0).to(tl.float32)
    dvalue = tl.load(dvalue_ptr + at, mask=at < size, other=0.0).to(tl.float32)
    value, slope = activation(z, ACT)
    tl.store(value_ptr + at, value.to(value_ptr.dtype.element_ty), mask=at < size)
    tl.store(dvalue_ptr + at, (dvalue * slope).to(dvalue_ptr.dtype.element_ty), mask=at < size)


def activate(z: Tensor, act: str) -> None:
    """z to phi(z), in place."""
    if z.numel():
        constants = dict(ACT=act, BLOCK=CHUNK, num_warps=4)
        launch(activate_forward, (triton.cdiv(z.numel(), CHUNK),), [z, z.numel()], constants)


def activate_again(z: Tensor, dvalue: Tensor, act: str, inplace: bool) -> Tensor:
    """phi(z), in place of z on request, and the gradient of phi(z) to that of z, in place."""
    value = z if inplace else torch.empty_like(z)
    if z.numel():
        constants = dict(ACT=act, BLOCK=CHUNK, num_warps=4)
        programs = (triton.cdiv(z.numel(), CHUNK),)
        launch(activate_backward, programs, [z, value, dvalue, z.numel()], constants)
    return value
