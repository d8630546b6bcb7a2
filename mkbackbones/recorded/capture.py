"""CUDA graphs of one device, in one pool of memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ..garbage import uncollected

#: Passes before a recording: kernels are compiled and chosen, and small tensors copied, in them.
WARM_UP = 2


class CudaGraphs:
    """Records what functions do on a device.

    All graphs share a pool: what one of them needs only while it runs, the others use, too. They
    must not run while what another one has left, for its backward pass or as a result, is still
    needed.

    Args:
        device (torch.device): A GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak = 0  # PyTorch's own begins anew at each line of a log
        self.pool = torch.cuda.graph_pool_handle()
        # PyTorch refuses a pool again whose graphs are all gone: an empty graph stays.
        self.keeper = torch.cuda.CUDAGraph()
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # that it is empty
            with self.recording(self.keeper):
                pass

    @contextmanager
    def recording(self, graph: torch.cuda.CUDAGraph) -> Iterator[None]:
        """Record what is started meanwhile."""
        # Threads that load data may call CUDA meanwhile; a graph that is garbage must not go then.
        recording = torch.cuda.graph(graph, pool=self.pool, capture_error_mode='thread_local')
        try:
            with torch.cuda.device(self.device), uncollected(), recording:
                yield
        except BaseException:
            free_generator(self.device)
            raise

    @contextmanager
    def warming_up(self) -> Iterator[range]:
        """Run what will be recorded, with random numbers put back.

        On the stream of passes as ever, whose memory is there already: PyTorch keeps what a stream
        has had for that stream.
        """
        with torch.random.fork_rng([self.device]):
            yield range(WARM_UP)

    def record(self, run: Callable[[], None]) -> Callable[[], None]:
        """Record a function, which reads and writes tensors that stay where they are.

        Returns:
            Callable: What runs it again.
        """
        graph = torch.cuda.CUDAGraph()
        with self.recording(graph):
            run()
        return graph.replay

    def held(self) -> float:
        """What this process holds of the memory that other processes leave of the GPU.

        With what it will need again for the rest of a step, heads and losses: recordings come while
        there is little of it, and PyTorch cannot take memory from graphs then.

        Returns:
            float: From 0; above 1 where that would be more than there is.
        """
        held = torch.cuda.memory_reserved(self.device)
        left = held + torch.cuda.mem_get_info(self.device)[0]
        self.peak = max(self.peak, torch.cuda.max_memory_allocated(self.device))
        return (held + self.peak - torch.cuda.memory_allocated(self.device)) / left

    def trim(self) -> None:
        """Give back the memory that no tensor and no graph has."""
        torch.cuda.empty_cache()

    def free(self) -> None:
        """Give back the memory of graphs that are gone, which no other tensor gets otherwise."""
        del self.keeper
        self.trim()


def free_generator(device: torch.device) -> None:
    """Give a device's random numbers a new state where a failed recording keeps the old one.

    PyTorch (2.11) leaves it in the state of being recorded, in which no number can be drawn.
    Graphs that were recorded before no longer draw from it.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    generator = torch.cuda.default_generators[index]
    if hasattr(generator, 'clone_state'):  # from PyTorch 2.4 on
        generator.graphsafe_set_state(generator.clone_state())
