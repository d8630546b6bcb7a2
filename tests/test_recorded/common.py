"""What tests of recorded passes share: CUDA graphs or, without a GPU, simulated ones."""

import copy

import torch

from mkbackbones.recorded import RecordedForward
from mkbackbones.recorded.capture import CudaGraphs

from ..test_kernels.small import filled, small_swin
from .simulated import SimulatedGraphs

CUDA = torch.cuda.is_available()
DEVICE = 'cuda' if CUDA else 'cpu'
#: Sums in another order on a GPU.
CLOSE = 2e-2 if CUDA else 1e-6
SHAPES = [(2, 3, 32, 48), (1, 3, 64, 32)]


class Counted(CudaGraphs):
    made: list['Counted'] = []

    def __init__(self, device):
        super().__init__(device)
        self.recorded = self.replayed = 0
        self.made.append(self)

    def record(self, run):
        replay = super().record(run)
        self.recorded += 1

        def counted():
            self.replayed += 1
            replay()

        return counted


Graphs = Counted if CUDA else SimulatedGraphs


def pair(build=small_swin, key=None, after=1, most=16, memory=1.0, **kwargs):
    """A backbone, and one with the same weights that is recorded."""
    torch.manual_seed(0)
    plain = filled(build(key, **kwargs))
    recorded = copy.deepcopy(plain)
    recorded.forward = RecordedForward(recorded, after, most, memory, Graphs)
    return plain, recorded


def images(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def amp():
    return torch.autocast('cuda', torch.bfloat16, enabled=CUDA)


def loss_of(model, x):
    with amp():
        maps = model(x)
    return sum((m.float() * torch.linspace(-1, 1, m.numel(), device=m.device).view_as(m)).sum()
               for m in maps)  # fmt: skip


def counts():
    return sum(g.recorded for g in Graphs.made), sum(g.replayed for g in Graphs.made)
