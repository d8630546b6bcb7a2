"""CUDA graphs as a CPU can have them: replaying computes all again, into the same tensors."""

from contextlib import contextmanager

import torch


class SimulatedGraphs:
    """As :class:`mkbackbones.recorded.capture.CudaGraphs`."""

    made: list['SimulatedGraphs'] = []

    def __init__(self, device):
        self.recorded = self.replayed = 0
        self.freed = self.trimmed = False
        self.made.append(self)

    @contextmanager
    def warming_up(self):
        with torch.random.fork_rng():
            yield range(2)

    def record(self, run):
        training = torch.is_grad_enabled()
        with torch.random.fork_rng():
            run()
        self.recorded += 1

        def replay():
            self.replayed += 1
            with torch.set_grad_enabled(training):
                run()

        return replay

    def held(self):
        return 0.0

    def trim(self):
        self.trimmed = True

    def free(self):
        self.freed = True
