"""Activations inside the kernels, and kernels that only activate.

GELU is ``u Phi(u)``, Phi the normal distribution: the exact form, that of ``nn.GELU()``, in
training and inference, forward and backward.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from .launch import ceil_div, launch

#: Values a program works on.
CHUNK = 2048


def activation_name(act: nn.Module | None) -> str | None:
    """The kernels' name of an activation, None for one that they do not know."""
    if act is None:
        return 'identity'
    if type(act) is nn.GELU:
        return 'gelu' if act.approximate == 'none' else None
    return {nn.ReLU: 'relu', nn.SiLU: 'silu'}.get(type(act))


def served_name(act: nn.Module | None) -> str:
    """:func:`activation_name` where it has been found out that the kernels know the activation."""
    name = activation_name(act)
    if name is None:
        raise ValueError(f'the kernels do not know the activation {act}')
    return name


@triton.jit
def activation(u, ACT: tl.constexpr):
    """phi(u) and its derivative."""
    if ACT == 'gelu':
        # Normal distribution after Abramowitz and Stegun 7.1.26, to 1e-7: a third of erf's work,
        # and the exponential serves the derivative as well.
        density = tl.exp(-0.5 * u * u)
        root = tl.rsqrt(1.0 + 0.2316418882 * tl.abs(u))
        t = root * root  # a division takes the GPU more than twice as many instructions
        tail = t * 0.5307027145 - 0.7265760135
        tail = t * (0.127414796 + t * (-0.142248368 + t * (0.7107068705 + t * tail))) * density
        cdf = tl.where(u < 0, tail, 1.0 - tail)
        value = u * cdf
        slope = cdf + u * density * 0.3989422804014327
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


@triton.jit
def value_offsets(count, UNIT: tl.constexpr, BLOCK: tl.constexpr):
    """Where a program's values lie, and which are there.

    The size is counted in units, so that the compiler sees that whole vectors are there or not.
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return at, at < count.to(tl.int64) * UNIT


@triton.jit(do_not_specialize=['count'])
def activate_forward(z_ptr, count, ACT: tl.constexpr, UNIT: tl.constexpr, BLOCK: tl.constexpr):
    """z_ptr (n,) to phi(z), in place."""
    at, there = value_offsets(count, UNIT, BLOCK)
    z = tl.load(z_ptr + at, mask=there, other=0.0).to(tl.float32)
    value, _ = activation(z, ACT)
    tl.store(z_ptr + at, value.to(z_ptr.dtype.element_ty), mask=there)


@triton.jit(do_not_specialize=['count'])
def activate_backward(
    z_ptr,
    value_ptr,
    dvalue_ptr,
    count,
    ACT: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """phi(z), and the gradient of z from that of phi(z).

    Args:
        z_ptr: What phi gets (n,).
        value_ptr: Receives phi(z) (n,); may be ``z_ptr``.
        dvalue_ptr: Gradient of phi(z) (n,); receives that of z.
        count: Units of UNIT values.
    """
    at, there = value_offsets(count, UNIT, BLOCK)
    z = tl.load(z_ptr + at, mask=there, other=0.0).to(tl.float32)
    dvalue = tl.load(dvalue_ptr + at, mask=there, other=0.0).to(tl.float32)
    value, slope = activation(z, ACT)
    tl.store(value_ptr + at, value.to(value_ptr.dtype.element_ty), mask=there)
    tl.store(dvalue_ptr + at, (dvalue * slope).to(dvalue_ptr.dtype.element_ty), mask=there)


def run(kernel: Any, tensors: list[Tensor], act: str) -> None:
    """Start an elementwise kernel."""
    size = tensors[0].numel()
    unit = 16 if size % 16 == 0 else 1
    if size:
        constants = dict(ACT=act, UNIT=unit, BLOCK=CHUNK, num_warps=4)
        launch(kernel, (ceil_div(size, CHUNK),), [*tensors, size // unit], constants)


def activate(z: Tensor, act: str) -> None:
    """z to phi(z), in place."""
    run(activate_forward, [z], act)


def activate_again(z: Tensor, dvalue: Tensor, act: str, inplace: bool) -> Tensor:
    """phi(z) once more in the backward pass, with the gradient of z.

    Args:
        z (Tensor): What phi got (...), contiguous.
        dvalue (Tensor): Gradient of phi(z) (...); becomes that of z, in place.
        act (str): The activation phi.
        inplace (bool): Whether phi(z) may take the place of z.

    Returns:
        Tensor: phi(z) (...).
    """
    value = z if inplace else torch.empty_like(z)
    run(activate_backward, [z, value, dvalue], act)
    return value
