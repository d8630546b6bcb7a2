"""A forward pass for one shape, and its backward pass, recorded."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Graphs(Protocol):
    """What records, see :class:`mkbackbones.recorded.capture.CudaGraphs`."""

    def warming_up(self) -> Any: ...

    def record(
        self, run: Callable[[], Sequence[Tensor | None]]
    ) -> tuple[Callable[[], None], list[Tensor | None]]: ...


class Awaited:
    """Stands for a backward pass that is still to come; gone when it has been, or cannot come."""


class Recording:
    """A recorded forward pass and, where gradients are wanted, its backward pass.

    Args:
        run (Callable): The forward pass: images (B, 3, H, W) to maps.
        x (Tensor): Images of the shape to record.
        parameters (list[nn.Parameter]): What gets gradients; none without a backward pass.
        graphs (Graphs): What records.
    """

    def __init__(
        self,
        run: Callable[[Tensor], Sequence[Tensor]],
        x: Tensor,
        parameters: list[nn.Parameter],
        graphs: Graphs,
    ) -> None:
        self.parameters = parameters
        self.images = x.detach().clone()
        self.gradients: list[Tensor | None] = []
        maps: Sequence[Tensor] = ()

        def forward() -> Sequence[Tensor]:
            nonlocal maps
            maps = run(self.images)
            return maps

        def backward() -> Sequence[Tensor | None]:
            return torch.autograd.grad(maps, parameters, self.map_gradients, allow_unused=True)

        # In the calling thread: nothing of a recording may be another thread's.
        with torch.autograd.set_multithreading_enabled(False):
            with graphs.warming_up() as rounds:
                for _ in rounds:
                    self.map_gradients = [torch.zeros_like(one) for one in forward()]
                    if parameters:
                        backward()
            self.run_forward, self.maps = graphs.record(forward)
            self.run_backward: Callable[[], None] | None = None
            if parameters:
                self.run_backward, self.gradients = graphs.record(backward)
        maps = ()  # what the forward pass has left is in the graph; its memory is free to the next

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps of images, in tensors that the next pass leaves alone."""
        self.images.copy_(x)
        self.run_forward()
        return tuple(one.clone() for one in self.maps if one is not None)

    def backward(self, map_gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Gradients of the parameters, in tensors that the next recorded pass overwrites."""
        assert self.run_backward is not None
        for ours, theirs in zip(self.map_gradients, map_gradients, strict=True):
            if theirs is None:
                ours.zero_()
            else:
                ours.copy_(theirs)
        self.run_backward()
        return [None if one is None else one.detach() for one in self.gradients]

    def release(self) -> None:
        """Leave the last gradients to parameters that still have them.

        Autograd takes a gradient as it is where a parameter has none, and it stays there where
        gradients are added up over several steps.
        """
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            kept = parameter.grad
            if kept is None or gradient is None:
                continue
            if kept.data_ptr() == gradient.data_ptr():
                parameter.grad = kept.clone()


class Replay(torch.autograd.Function):
    """A recorded pass as one node of autograd's graph."""

    @staticmethod
    def forward(
        ctx: Any, recording: Recording, turn: Turn, x: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.recording, ctx.turn, ctx.awaited = recording, turn, turn.take()
        ctx.set_materialize_grads(False)
        return recording.forward(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *map_gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        if ctx.awaited is None:
            raise RuntimeError(
                'the backward pass of a recorded forward pass runs once; train without '
                'RecordBackboneHook to run it again'
            )
        gradients = ctx.recording.backward(map_gradients)
        ctx.awaited = None
        ctx.turn.lender = ctx.recording
        return None, None, None, *gradients


class Turn:
    """Whose turn it is among recordings that share memory.

    Attributes:
        lender (Recording | None): The one whose gradients parameters may still have.
    """

    def __init__(self) -> None:
        self.awaited: weakref.ref[Awaited] | None = None
        self.lender: Recording | None = None

    def is_free(self) -> bool:
        """Whether no forward pass waits for its backward pass."""
        return self.awaited is None or self.awaited() is None

    def take(self) -> Awaited:
        """Wait for a backward pass from now on."""
        awaited = Awaited()
        self.awaited = weakref.ref(awaited)
        return awaited

    def end_loan(self) -> None:
        """Give parameters that still have gradients of a recording tensors of their own."""
        if self.lender is not None:
            self.lender.release()
            self.lender = None
