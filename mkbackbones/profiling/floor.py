"""The least time that a backbone can take on a device: what its matrix operators cannot avoid.

    floor = max(operations / matrix rate, bytes / bandwidth)

Operations are those of matrix products, convolutions and attention. Bytes are each such operator's
inputs, weights and outputs, moved once, in the precision of the run; everything else (norms,
activations, windows, residuals) is taken as fused into them, and attention as one operator. A
train step counts as three inferences: each operator comes back once for its inputs' gradients and
once for its weights'. Rate and bandwidth are measured on the device: a large product, a large copy.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..cost import count_cost

if TYPE_CHECKING:
    from .spec import Precision

DTYPES: dict[Precision, torch.dtype] = {
    'fp32': torch.float32,
    'bf16': torch.bfloat16,
    'fp16': torch.float16,
}
MATRIX_OPERATORS = {
    F.linear,
    F.conv1d,
    F.conv2d,
    F.conv_transpose2d,
    F.scaled_dot_product_attention,
    torch.conv2d,
    torch.matmul,
    torch.bmm,
    torch.baddbmm,
    torch.mm,
    torch.addmm,
    torch.einsum,
    Tensor.matmul,
    Tensor.__matmul__,
}


class Traffic(TorchFunctionMode):
    """Counts the elements that matrix operators read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_function__(
        self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func in MATRIX_OPERATORS:
            tensors = [v for v in (*args, *kwargs.values(), out) if isinstance(v, Tensor)]
            self.elements += sum(t.numel() for t in tensors)
        return out


def operations_and_traffic(model: nn.Module, size: tuple[int, int, int]) -> tuple[int, int]:
    """Operations and moved elements of one inference, counted on shapes alone.

    Args:
        model (nn.Module): The backbone, on any device; it is left as it is.
        size (tuple[int, int, int]): Images, height, width.

    Returns:
        tuple[int, int]: Operations, a multiply-add as two, and elements.
    """
    batch, *sides = size
    tensors = (*model.parameters(), *model.buffers())
    # A copy of the modules around tensors without data.
    model = copy.deepcopy(model, {id(t): shape_of(t) for t in tensors})
    model.eval()  # OpenMMLab's return None
    flops = batch * count_cost(model, size[1:]).flops
    traffic = Traffic()
    with torch.no_grad(), traffic:
        model(torch.zeros(batch, 3, *sides, device='meta'))
    return flops, traffic.elements


def shape_of(tensor: Tensor) -> Tensor:
    """The tensor or parameter without its data."""
    empty = torch.empty_like(tensor, device='meta')
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def floor_ms(flops: int, elements: int, precision: Precision, rates: dict) -> float | None:
    """Least time of an inference in milliseconds; None if the device's rates are not known."""
    if precision not in rates['matrix_tflops']:
        return None
    compute = flops / (rates['matrix_tflops'][precision] * 1e12)
    memory = elements * DTYPES[precision].itemsize / (rates['bandwidth_gbs'] * 1e9)
    return 1e3 * max(compute, memory)


def measure_rates(device: torch.device, precisions: list[Precision]) -> dict:
    """Measure a device.

    Args:
        device (torch.device): The device.
        precisions (list[str]): Names of ``DTYPES``; those that it cannot multiply are left out.

    Returns:
        dict: ``matrix_tflops`` by precision, and ``bandwidth_gbs``: bytes read and written a
        second in a copy.
    """
    side, length = (8192, 2**28) if device.type == 'cuda' else (1024, 2**24)
    tflops = {}
    for precision in precisions:
        a = torch.randn(side, side, device=device).to(DTYPES[precision])
        try:
            tflops[precision] = (
                2 * side**3 / best_seconds(partial(torch.matmul, a, a), device) / 1e12
            )
        except RuntimeError:  # no such product on this device
            continue
    source = torch.zeros(length, device=device)
    target = torch.empty_like(source)
    seconds = best_seconds(lambda: target.copy_(source), device)
    return dict(matrix_tflops=tflops, bandwidth_gbs=2 * source.nbytes / seconds / 1e9)


def best_seconds(run: Callable[[], Any], device: torch.device, repeats: int = 20) -> float:
    """Shortest time of ``run`` after warm-up: what the device can do undisturbed."""
    times = []
    for _ in range(3 + repeats):
        synchronize(device)
        start = time.perf_counter()
        run()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[3:])


def synchronize(device: torch.device) -> None:
    """Wait for a device's work."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
