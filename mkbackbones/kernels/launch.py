"""Launch sizes that several kernels share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..compat.modes import is_compiling
from ..compat.private import DirectLaunch

if TYPE_CHECKING:
    from torch.library import CustomOpDef

direct = DirectLaunch()
compiled_kernels: dict[tuple, Any] = {}


def launch(kernel: Any, grid: Sequence[int], args: Sequence[Any], constants: dict) -> None:
    """Start a kernel.

    Triton inspects each argument at each launch, which takes the CPU longer than most kernels take
    the GPU. What it would find is decided by the types and the alignment of the tensors, so kernels
    are looked up by those.

    Args:
        kernel (JITFunction): The kernel.
        grid (Sequence[int]): Programs along one or two axes.
        args (Sequence): Arguments that are not constants: tensors, None and numbers, which the
            kernel must not specialise.
        constants (dict): Compile-time arguments in the order of the signature; last of all
            ``num_warps``.
    """
    if not (direct.works and args[0].is_cuda):
        kernel[tuple(grid)](*args, **constants)
        return
    if torch.cuda.current_device() != args[0].device.index:
        with torch.cuda.device(args[0].device):
            launch(kernel, grid, args, constants)
        return
    types = [
        (a.dtype, a.data_ptr() % 16) if isinstance(a, Tensor) else a is None or a >= 2**31
        for a in args
    ]
    key = (id(kernel), args[0].device.index, *types, *constants.values())
    compiled = compiled_kernels.get(key)
    if compiled is None:
        compiled_kernels[key] = kernel[tuple(grid)](*args, **constants)
        return
    values = list(constants.values())[:-1]
    x, y, z = (*grid, 1, 1)[:3]
    if not direct(compiled, (x, y, z), [*args, *values]):
        kernel[tuple(grid)](*args, **constants)


def ceil_div(a: int, b: int) -> int:
    """``a / b``, rounded up; Triton's own takes the CPU as long as a launch's arguments."""
    return -(-a // b)


def block_size(channels: int) -> int:
    """The power of two that holds all channels."""
    return 1 << max(channels - 1, 1).bit_length()


@cache
def processors(index: int) -> int:
    """Number of multiprocessors of a GPU."""
    return torch.cuda.get_device_properties(index).multi_processor_count


def num_groups(work: int, device: torch.device, per_processor: float) -> int:
    """Programs to start for ``work`` blocks that each program walks through in strides."""
    if device.type != 'cuda':
        return min(work, 3)  # Triton's interpreter
    return min(work, math.ceil(processors(device.index) * per_processor))


def differentiable(
    op: CustomOpDef,
    forward: Callable,
    backward_op: CustomOpDef,
    backward: Callable,
    setup: Callable,
    gradients: Callable,
) -> Callable:
    """One function that trains, from an operator and its backward operator.

    ``torch.compile`` sees two operators and looks into neither. Without it the plain functions run
    as a ``torch.autograd.Function``, which takes the CPU a fraction of an operator's dispatch.

    Args:
        op (CustomOpDef): The operator.
        forward (Callable): The plain function behind it.
        backward_op (CustomOpDef): The operator of its backward pass.
        backward (Callable): The plain function behind that.
        setup (Callable): ``setup(ctx, inputs, output)``, saves what the backward pass needs.
        gradients (Callable): ``gradients(backward, ctx, *grads)``, one gradient an input.
    """
    op.register_autograd(
        lambda ctx, *grads: gradients(backward_op, ctx, *grads), setup_context=setup
    )

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            output = forward(*inputs)
            setup(ctx, inputs, output)
            return output

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, *grads: Any) -> Any:
            return gradients(backward, ctx, *grads)

    def call(*inputs: Any) -> Any:
        if is_compiling():
            return op(*inputs)
        return Fused.apply(*inputs) if torch.is_grad_enabled() else forward(*inputs)

    return call
