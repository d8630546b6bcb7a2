"""A backbone's ``forward`` that records passes and runs them again."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..compat.modes import autocast_dtype, is_autocast_enabled, is_compiling, is_exporting
from ..fused.exact import Cached
from .capture import CudaGraphs
from .often import Often
from .recording import Graphs, Recording, Replay, Turn
from .statics import Statics
from .tree import Tree


class RecordedForward:
    """What a backbone's ``forward`` does, from recordings where a shape comes again.

    Each shape of images is recorded once it has come ``after`` times, apart for training and
    inference. Passes run as ever, one kernel after the other, wherever recordings do not serve: for
    shapes that are rare; where the backbone runs without the Triton kernels; while hooks or
    observers listen to a part of it; while another forward pass still waits for its backward pass.
    Results, gradients and random numbers are those of passes as ever. The backward pass of a
    recorded pass runs once.

    Recordings share their memory. A shape that is larger than all before makes room for itself:
    the others are recorded again beside it, since what fits small images is no use to large ones.

    Args:
        backbone (Backbone): The backbone.
        after (int): Passes of a shape before it is recorded.
        most (int): Recordings that are kept; one that has come rarely gives way to a shape that has
            come twice as often.
        memory (float): What this process may hold with recordings and the rest of its steps of the
            GPU's memory that others leave, 0 to 1. Where it is more, shapes of that size are not
            recorded.
        graphs (Callable): Makes what records on a device.
    """

    def __init__(
        self,
        backbone: Backbone,
        after: int = 3,
        most: int = 16,
        memory: float = 0.8,
        graphs: Callable[[torch.device], Graphs] = CudaGraphs,
    ) -> None:
        self.backbone = backbone
        self.plain: Callable[[Tensor], tuple[Tensor, ...]] = backbone.forward
        self.often = Often(after, most)
        self.memory = memory
        self.make_graphs = graphs
        self.turn = Turn()
        self.graphs: Graphs | None = None
        self.statics = Statics()
        self.recordings: dict[Hashable, Recording] = {}
        self.largest = 0
        self.too_large = math.inf
        self.refused: set[Hashable] = set()
        self.weights: list[tuple[int, bool]] = []
        self.cached = Cached()
        self.told: set[str] = set()

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        tree = self.tree(x)
        if tree is None:
            return self.plain(x)
        tensors = tree.tensors()
        self.drop_if_moved(tensors)
        if not self.turn.is_free():
            return self.plain(x)
        parameters = [t for t in tensors if isinstance(t, nn.Parameter) and t.requires_grad]
        training = torch.is_grad_enabled() and bool(parameters)
        autocast = is_autocast_enabled(x.device.type) and autocast_dtype(x.device.type)
        place = x.shape, x.dtype, x.device, training, autocast, tree.modes()
        self.often.count(place)
        recording = self.recordings.get(place)
        if recording is None and not self.is_due(place, x):
            return self.plain(x)
        self.turn.end_loan()
        if recording is None:
            recording = self.record(place, x, tree, parameters if training else [])
            if recording is None:
                return self.plain(x)
        if not training:
            return recording.forward(x)
        return Replay.apply(recording, self.turn, x, *recording.parameters)

    def tree(self, x: Tensor) -> Tree | None:
        """The backbone as it is, if a pass may be recorded or run from a recording."""
        if is_compiling() or is_exporting() or torch.is_inference_mode_enabled():
            return None
        if x.requires_grad or x.dim() != 4:
            return None
        if x.is_cuda and torch.cuda.is_current_stream_capturing():
            return None
        if not self.is_on_kernels(x):
            return None
        tree: Tree = self.cached.ask(self.backbone, Tree)
        if tree.reason is not None:
            self.tell(tree.reason)
            return None
        return None if tree.is_observed() else tree

    def is_on_kernels(self, x: Tensor) -> bool:
        """Whether the Triton kernels serve a pass: half precision, on a GPU."""
        return self.backbone.decision.plan(self.backbone, x) is not None

    def drop_if_moved(self, tensors: list[Tensor]) -> None:
        """Drop all recordings where weights are no more where they were, or frozen now."""
        weights = [(t.data_ptr(), t.requires_grad) for t in tensors]
        if weights != self.weights:
            self.weights = weights
            self.drop()

    def drop(self) -> None:
        """Drop all recordings, and their memory."""
        self.recordings.clear()
        self.statics = Statics()
        self.largest = 0
        if self.graphs is not None:
            self.graphs.free()
            self.graphs = None

    def is_due(self, place: Hashable, x: Tensor) -> bool:
        """Whether to record a shape now."""
        if x.numel() >= self.too_large or place in self.refused:
            return False
        return self.often.is_due(place, self.recordings)

    def record(
        self, place: Hashable, x: Tensor, tree: Tree, parameters: list[nn.Parameter]
    ) -> Recording | None:
        """Record a shape; None where it cannot be, or takes too much memory."""
        if x.numel() > self.largest:
            self.drop()
            self.largest = x.numel()
        if self.graphs is None:
            self.graphs = self.make_graphs(x.device)
            if not self.has_room(self.graphs, 0):
                return None
        if len(self.recordings) >= self.often.most:
            del self.recordings[self.often.rarest(self.recordings)]

        def run(x: Tensor) -> tuple[tuple[Tensor, ...], list[nn.Parameter]]:
            # Whatever still holds a former pass, as a loss or DistributedDataParallel may, keeps
            # what takes its parameters' gradients on the stream of that pass, for which a recording
            # must not wait. So others stand in for the parameters, new ones in each pass.
            others = tree.stand_ins()
            with tree.standing_in(others):
                return self.plain(x), [others[id(p)] for p in parameters]

        try:
            with uncached_autocast(x.device.type):
                self.recordings[place] = Recording(run, x, parameters, self.graphs, self.statics)
        except RuntimeError as error:
            # What is recorded draws from the generator as it was; a pool may be left half open.
            self.drop()
            self.refused.add(place)
            if isinstance(error, torch.cuda.OutOfMemoryError):
                self.too_large = x.numel()
            reason = ' '.join(str(error).split())[:300]
            self.tell(f'images {tuple(x.shape)}: {type(error).__name__}: {reason}')
            return None
        return self.recordings[place] if self.has_room(self.graphs, x.numel()) else None

    def has_room(self, graphs: Graphs, size: int) -> bool:
        """Whether the process may hold what it does; else images of a size are not recorded."""
        held = graphs.held()
        if held > self.memory:
            graphs.trim()  # what PyTorch only keeps for later does not count
            held = graphs.held()
        if held <= self.memory:
            return True
        self.drop()
        self.too_large = size
        which = f'images of {size} values and more are' if size else 'nothing is'
        self.tell(
            f'the process holds {held:.0%} of the GPU memory that others leave, more than '
            f'memory={self.memory:g}; {which} recorded'
        )
        return False

    def tell(self, reason: str) -> None:
        """Say once why passes are not recorded."""
        if reason not in self.told:
            self.told.add(reason)
            name = type(self.backbone).__name__
            print_log(f'{name} runs without recordings: {reason}', 'current', logging.INFO)


def uncached_autocast(device_type: str) -> AbstractContextManager[Any]:
    """Autocast as it is, with casts of its own: those from before are not in a recording."""
    if not is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, dtype=autocast_dtype(device_type), cache_enabled=False)
