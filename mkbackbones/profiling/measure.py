"""One backbone on a device: its train step, its inference, and what they need."""

from __future__ import annotations

import gc
import math
import re
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..compat.graphs import allow_many_graphs, mark_step, why_not_compiled
from ..engine.compile_backbone import compile_options
from ..recorded import RecordedForward
from .floor import DTYPES, synchronize

if TYPE_CHECKING:
    from .spec import Compiled, Loop, Precision

WARM_UP = 3
#: A sample lasts at least this long, in seconds: short steps are repeated.
SAMPLE_SECONDS = 0.1
LAUNCH = re.compile(r'(cuda|cu)(LaunchKernel|LaunchCooperativeKernel|GraphLaunch)')
StepKind = Literal['train', 'inference']
KINDS: tuple[StepKind, ...] = get_args(StepKind)


class Case:
    """A backbone that is ready to run on a batch.

    A train step is forward and backward with dense random gradients of all outputs, which stand
    for the loss of a head, and on request the step of AdamW. Gradients are freed after each step.

    Args:
        model (nn.Module): The backbone.
        compiled (str): ``no``, ``yes``, or ``graphs``: compiled into CUDA graphs.
        recorded (bool): Whether to record passes, as ``RecordBackboneHook`` does.
        loop (str): ``ours`` runs the backward pass in the calling thread, as
            ``BFloat16OptimWrapper`` does; ``plain`` in PyTorch's own.
        images (Tensor): Batch (B, 3, H, W) on the device to use.
        precision (str): ``fp32``, or ``bf16`` or ``fp16`` under autocast.
        optimizer (bool): Whether AdamW's step is part of a train step.
        resident (int): Bytes on the device that are not this backbone's.

    Raises:
        ValueError: If this PyTorch does not compile the backbones, or passes of another library's
            backbone are to be recorded.
    """

    def __init__(
        self,
        model: nn.Module,
        compiled: Compiled,
        recorded: bool,
        loop: Loop,
        images: Tensor,
        precision: Precision,
        optimizer: bool,
        resident: int,
    ) -> None:
        self.images = images
        self.device = images.device
        self.precision = precision
        self.resident = resident
        self.plain = model.to(self.device)
        self.loop = loop
        self.graphs = compiled == 'graphs'
        self.model: Callable[[Tensor], Any] = self.plain
        if compiled != 'no':
            if reason := why_not_compiled():
                raise ValueError(f'cannot be compiled: {reason}')
            allow_many_graphs()
            self.model = torch.compile(self.plain, **compile_options(self.graphs))
        if recorded:
            record_passes(self.plain)
        self.parameters = list(self.plain.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters) if optimizer else None
        self.grads: list[Tensor] | None = None
        self.repeats: dict[StepKind, int] = {}

    def autocast(self) -> AbstractContextManager:
        """The precision's context."""
        enabled = self.precision != 'fp32'
        dtype = DTYPES[self.precision] if enabled else None
        return torch.autocast(self.device.type, dtype=dtype, enabled=enabled)

    def step(self, kind: StepKind) -> None:
        """Run one train step or one inference; the model has to be in the right mode."""
        if self.graphs:
            mark_step()
        if kind == 'inference':
            with torch.no_grad(), self.autocast():
                self.model(self.images)
            return
        with self.autocast():
            outs = tuple(self.model(self.images))
        if self.grads is None:
            self.grads = [torch.randn_like(out) for out in outs]
        with torch.autograd.set_multithreading_enabled(self.loop == 'plain'):
            torch.autograd.backward(outs, self.grads)
        if self.optimizer is not None:
            self.optimizer.step()
        self.clear_gradients()

    def clear_gradients(self) -> None:
        """Free the gradients, as an optimiser does: without a walk through the modules."""
        for parameter in self.parameters:
            parameter.grad = None

    def prepare(self, kind: StepKind) -> float | None:
        """Warm up, and return the peak of the memory in MiB; None without CUDA."""
        self.plain.train(kind == 'train')
        for _ in range(WARM_UP):
            self.step(kind)
        peak = peak_mib(self.device, self.resident, lambda: self.step(kind))
        seconds = run_seconds(self.device, lambda: self.step(kind))
        self.repeats[kind] = max(1, math.ceil(SAMPLE_SECONDS / seconds))
        return peak

    def trace(self, kind: StepKind) -> tuple[int | None, float | None]:
        """Launches of a step, and milliseconds that its kernels take; None without CUDA.

        Not to be called before the last sample of any backbone: a profiler that has run slows later
        launches down.
        """
        if self.device.type != 'cuda':
            return None, None
        self.plain.train(kind == 'train')
        for _ in range(WARM_UP):
            self.step(kind)
        return trace_kernels(lambda: self.step(kind))

    def sample(self, kind: StepKind) -> float:
        """Milliseconds of a step, the mean of enough consecutive ones to be measured well."""
        self.plain.train(kind == 'train')
        repeats = self.repeats[kind]
        self.step(kind)  # the first one after another model has run meets cold caches

        def run() -> None:
            for _ in range(repeats):
                self.step(kind)

        return 1e3 * run_seconds(self.device, run) / repeats

    def move(self, device: torch.device | str) -> None:
        """Move the parameters, and forget what else lies on the device but the images."""
        self.plain.to(device)
        self.clear_gradients()
        self.grads = None

    def drop(self, kind: StepKind) -> None:
        """Give up on a kind of step, and free what a failed one has left."""
        self.repeats.pop(kind, None)
        self.clear_gradients()
        self.grads = None if kind == 'train' else self.grads
        free(self.device)


def record_passes(model: nn.Module) -> None:
    """Run a backbone as ``RecordBackboneHook`` does, each shape recorded when it comes again.

    Raises:
        ValueError: It is another library's.
    """
    if not isinstance(model, Backbone):
        raise ValueError('passes of mkbackbones alone are recorded')
    model.forward = RecordedForward(model, after=1)  # type: ignore[method-assign]


def run_seconds(device: torch.device, run: Callable[[], None]) -> float:
    """Seconds that ``run`` takes, its work on the device included."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def allocated(device: torch.device) -> int:
    """Bytes that tensors hold on a device; 0 on the CPU, where they are not counted."""
    return torch.cuda.memory_allocated(device) if device.type == 'cuda' else 0


def free(device: torch.device) -> None:
    """Return what nobody holds to the device."""
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.empty_cache()


def peak_mib(device: torch.device, resident: int, run: Callable[[], None]) -> float | None:
    """Peak of the memory in ``run``, without the ``resident`` bytes of others; None on the CPU."""
    if device.type != 'cuda':
        return None
    synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - resident) / 2**20


def trace_kernels(run: Callable[[], None]) -> tuple[int | None, float | None]:
    """Kernels and CUDA graphs that ``run`` launches, and milliseconds that the kernels take.

    None where the profiler sees none.
    """
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    events = profiler.events()
    return launches_of(events), busy_ms(events)


def launches_of(events: Iterable) -> int | None:
    """Launches among a profiler's events."""
    return sum(bool(LAUNCH.match(event.name)) for event in events) or None


def busy_ms(events: Iterable) -> float | None:
    """Milliseconds of kernels and copies among a profiler's events."""
    on_device = (e for e in events if e.device_type == torch.autograd.DeviceType.CUDA)
    return sum(event.time_range.elapsed_us() for event in on_device) / 1e3 or None
