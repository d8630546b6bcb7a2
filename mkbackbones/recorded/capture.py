"""CUDA graphs of one device, in one pool of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

#: Passes before a recording: kernels are compiled and chosen, and small tensors copied, in them.
WARM_UP = 2


class CudaGraphs:
    """Records what functions do on a device.

    All graphs share a pool: what one of them needs only while it runs, the others use, too. They
    must not run while what another one has left for its backward pass is still needed.

    Args:
        device (torch.device): A GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def warming_up(self) -> Iterator[range]:
        """Run what will be recorded, on a stream of its own and with random numbers put back."""
        current, aside = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)
        aside.wait_stream(current)
        with torch.random.fork_rng([self.device]), torch.cuda.stream(aside):
            yield range(WARM_UP)
        current.wait_stream(aside)

    def record(
        self, run: Callable[[], Sequence[Tensor | None]]
    ) -> tuple[Callable[[], None], list[Tensor | None]]:
        """Record a function.

        Args:
            run (Callable): Reads tensors that stay where they are, and returns new ones.

        Returns:
            tuple: What runs it again, and the tensors in which its results are then.
        """
        graph = torch.cuda.CUDAGraph()
        # Threads that load data may call CUDA meanwhile.
        recording = torch.cuda.graph(graph, pool=self.pool, capture_error_mode='thread_local')
        with torch.cuda.device(self.device), recording:
            found = run()
        return graph.replay, [None if t is None else t.detach() for t in found]
