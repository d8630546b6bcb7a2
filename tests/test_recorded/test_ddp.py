"""Recorded passes of two processes give the gradients of one process on the whole batch."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from mkbackbones.recorded import RecordedForward

from ..processes import in_processes
from ..test_kernels.small import error, filled, small_swin
from .simulated import SimulatedGraphs

STEPS = 3


def build():
    torch.manual_seed(0)
    return filled(small_swin(dict(type='SpatialK', num_charts=2))).cpu()


def images(step):
    return torch.randn(4, 3, 32, 48, generator=torch.Generator().manual_seed(step))


def backward(model, x):
    sum(one.square().mean() for one in model(x)).backward()


def worker(rank, port_file, grads_file):
    torch.set_num_threads(1)
    RecordedForward.is_on_kernels = lambda self, x: True
    dist.init_process_group('gloo', init_method=f'file://{port_file}', rank=rank, world_size=2)
    model = DistributedDataParallel(build())
    backbone = model.module
    backbone.forward = RecordedForward(backbone, after=1, graphs=SimulatedGraphs)
    for step in range(STEPS):
        backward(model, images(step)[2 * rank : 2 * rank + 2])
    if rank == 0:
        replayed = sum(graphs.replayed for graphs in SimulatedGraphs.made)
        torch.save((replayed, [p.grad for p in backbone.parameters()]), grads_file)
    dist.destroy_process_group()


@pytest.mark.skipif(torch.cuda.is_available(), reason='forked processes have no GPU')
def test_gradients_of_two_processes_add_up(tmp_path):
    files = str(tmp_path / 'port'), str(tmp_path / 'grads.pth')
    in_processes(2, worker, *files)
    replayed, grads = torch.load(files[1])
    assert replayed == 2 * (STEPS - 1)
    model = build()
    for step in range(STEPS):
        backward(model, images(step))
    for p, grad in zip(model.parameters(), grads, strict=True):
        assert error(grad, p.grad) < 1e-5


def gpu_worker(rank, port_file, found_file):
    dist.init_process_group('nccl', init_method=f'file://{port_file}', rank=rank, world_size=1)
    plain, recorded = build().cuda(), DistributedDataParallel(build().cuda())
    backbone = recorded.module
    backbone.forward = RecordedForward(backbone, after=1, memory=1.0)
    errors = []
    for step in range(STEPS):
        for model in (plain, recorded):
            model.zero_grad()
            with torch.autocast('cuda', torch.bfloat16):
                backward(model, images(step).cuda())
        pairs = zip(backbone.parameters(), plain.parameters(), strict=True)
        errors += [error(p.grad, q.grad) for p, q in pairs]
    torch.save((len(backbone.forward.recordings), max(errors)), found_file)
    dist.destroy_process_group()


@pytest.mark.skipif(not torch.cuda.is_available(), reason='asks for a GPU')
def test_passes_under_a_wrapper_are_recorded_on_a_gpu(tmp_path):
    files = str(tmp_path / 'port'), str(tmp_path / 'found.pth')
    mp.spawn(gpu_worker, args=files, nprocs=1)
    recordings, worst = torch.load(files[1])
    assert recordings == 1 and worst < 5e-2
