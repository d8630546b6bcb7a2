"""A backbone's ``forward`` that records passes and runs them again."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..compat.modes import autocast_dtype, is_autocast_enabled, is_compiling, is_exporting
from ..fused.exact import Cached
from .capture import CudaGraphs
from .recording import Graphs, Recording, Replay, Turn
from .tree import Tree

#: Shapes that are counted at a time.
MOST_COUNTED = 1024


class RecordedForward:
    """What a backbone's ``forward`` does, from recordings where a shape comes again.

    Each shape of images is recorded once it has come ``after`` times, apart for training and
    inference. Passes run as ever, one kernel after the other, wherever recordings do not serve: for
    shapes that are rare; where the backbone runs without the Triton kernels; while hooks or
    observers listen to a part of it; while another forward pass still waits for its backward pass.
    Results, gradients and random numbers are those of passes as ever. The backward pass of a
    recorded pass runs once.

    Args:
        backbone (Backbone): The backbone.
        after (int): Passes of a shape before it is recorded.
        most (int): Recordings that are kept; the one that was used least recently goes first.
        graphs (Callable): Makes what records on a device.
    """

    def __init__(
        self,
        backbone: Backbone,
        after: int = 3,
        most: int = 16,
        graphs: Callable[[torch.device], Graphs] = CudaGraphs,
    ) -> None:
        self.backbone = backbone
        self.plain: Callable[[Tensor], tuple[Tensor, ...]] = backbone.forward
        self.after = after
        self.most = most
        self.make_graphs = graphs
        self.graphs: dict[torch.device, tuple[Graphs, Turn]] = {}
        self.counts: Counter[tuple] = Counter()
        self.recordings: OrderedDict[tuple, Recording] = OrderedDict()
        self.weights: list[tuple[int, bool]] = []
        self.cached = Cached()
        self.told: set[str] = set()

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        tree = self.tree(x)
        if tree is None:
            return self.plain(x)
        tensors = tree.tensors()
        self.forget_if_moved(tensors)
        parameters = [t for t in tensors if isinstance(t, nn.Parameter) and t.requires_grad]
        training = torch.is_grad_enabled() and bool(parameters)
        device = x.device
        if device not in self.graphs:
            self.graphs[device] = self.make_graphs(device), Turn()
        graphs, turn = self.graphs[device]
        if not turn.is_free():
            return self.plain(x)
        autocast = is_autocast_enabled(device.type) and autocast_dtype(device.type)
        place = x.shape, x.dtype, device, training, autocast, tree.modes()
        recording = self.recordings.get(place)
        if recording is None:
            recording = self.new(place, x, parameters if training else [], graphs)
            if recording is None:
                return self.plain(x)
        self.recordings.move_to_end(place)
        turn.end_loan()
        if not training:
            return recording.forward(x)
        return Replay.apply(recording, turn, x, *recording.parameters)

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

    def forget_if_moved(self, tensors: list[Tensor]) -> None:
        """Drop all recordings where weights are no more where they were, or frozen now."""
        weights = [(t.data_ptr(), t.requires_grad) for t in tensors]
        if weights != self.weights:
            self.weights = weights
            self.recordings.clear()
            self.graphs.clear()  # and their memory

    def new(
        self, place: tuple, x: Tensor, parameters: list[nn.Parameter], graphs: Graphs
    ) -> Recording | None:
        """A recording of a shape, where it is time for one and there is memory for it."""
        if len(self.counts) >= MOST_COUNTED and place not in self.counts:
            self.counts.clear()
        self.counts[place] += 1
        if self.counts[place] <= self.after:
            return None
        while len(self.recordings) >= self.most:
            self.recordings.popitem(last=False)
        try:
            with uncached_autocast(x.device.type):
                recording = Recording(self.plain, x, parameters, graphs)
        except RuntimeError as error:
            # What is recorded draws from the generator as it was; a pool may be left half open.
            self.recordings.clear()
            self.graphs.clear()
            self.counts[place] = -(10**12)
            reason = ' '.join(str(error).split())[:300]
            self.tell(f'images {tuple(x.shape)}: {type(error).__name__}: {reason}')
            return None
        self.recordings[place] = recording
        return recording

    def tell(self, reason: str) -> None:
        """Say once why passes are not recorded."""
        if reason not in self.told:
            self.told.add(reason)
            name = type(self.backbone).__name__
            print_log(f'{name} runs without recordings: {reason}', 'current', logging.WARNING)


def uncached_autocast(device_type: str) -> AbstractContextManager[Any]:
    """Autocast as it is, with casts of its own: those from before are not in a recording."""
    if not is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, dtype=autocast_dtype(device_type), cache_enabled=False)
