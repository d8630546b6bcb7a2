"""A forward pass for one shape, and its backward pass, recorded."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..compat.private import copy_all
from .statics import Statics


class Graphs(Protocol):
    """What records, see :class:`mkbackbones.recorded.capture.CudaGraphs`.

    What is recorded reads tensors that stay where they are, and leaves its results in such ones.
    """

    def warming_up(self) -> Any: ...

    def record(self, run: Callable[[], None]) -> Callable[[], None]: ...

    def held(self) -> float: ...

    def trim(self) -> None: ...

    def free(self) -> None: ...


class Awaited:
    """Stands for a backward pass that is still to come; gone when it has been, or cannot come."""


class Recording:
    """A recorded forward pass and, where gradients are wanted, its backward pass.

    Args:
        run (Callable): The forward pass: images (B, 3, H, W) to maps, and what it has in the place
            of ``parameters``.
        x (Tensor): Images of the shape to record.
        parameters (list[nn.Parameter]): What gets gradients; none without a backward pass.
        graphs (Graphs): What records.
        statics (Statics): Memory for images, maps and gradients, shared with other recordings.
    """

    def __init__(
        self,
        run: Callable[[Tensor], tuple[Sequence[Tensor], list[nn.Parameter]]],
        x: Tensor,
        parameters: list[nn.Parameter],
        graphs: Graphs,
        statics: Statics,
    ) -> None:
        self.parameters = parameters
        self.images = statics.like('images', x).copy_(x)
        self.maps: list[Tensor] = []
        self.map_gradients: list[Tensor] = []
        self.gradients: list[Tensor | None] = []
        maps: Sequence[Tensor] = ()
        leaves: list[nn.Parameter] = []

        def forward() -> None:
            nonlocal maps, leaves
            maps, leaves = run(self.images)
            if not self.maps:
                self.maps = [statics.like(('map', i), one) for i, one in enumerate(maps)]
            with torch.no_grad():
                copy_all(self.maps, list(maps))

        def backward() -> None:
            found = torch.autograd.grad(maps, leaves, self.map_gradients, allow_unused=True)
            if not self.gradients:
                self.gradients = [
                    None if one is None else statics.like(('gradient', i), one)
                    for i, one in enumerate(found)
                ]
            copy_all(
                *([t for t in several if t is not None] for several in (self.gradients, found))
            )

        # In the calling thread: nothing of a recording may be another thread's.
        with torch.autograd.set_multithreading_enabled(False):
            with graphs.warming_up() as rounds:
                for _ in rounds:
                    forward()
                    if parameters:
                        self.map_gradients = [
                            statics.like(('to map', i), one).zero_()
                            for i, one in enumerate(self.maps)
                        ]
                        backward()
            self.run_forward = graphs.record(forward)
            self.run_backward = graphs.record(backward) if parameters else None
        maps = ()  # what the forward pass has left is in the graph; its memory is free to the next

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps of images, in tensors that the next pass leaves alone."""
        self.images.copy_(x)
        self.run_forward()
        return tuple(one.clone() for one in self.maps)

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
