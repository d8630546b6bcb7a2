"""Two processes with gloo give the gradients of one process on the whole batch."""

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ..processes import in_processes
from .common import tiny_dinov3, tiny_swin, tiny_swin_v2, tiny_vit

BUILDERS = {'swin': tiny_swin, 'swin-v2': tiny_swin_v2, 'vit': tiny_vit, 'dinov3': tiny_dinov3}


def build(name):
    torch.manual_seed(0)
    model = BUILDERS[name](key_cfg=dict(type='SpatialK', num_charts=2))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return model


def images():
    return torch.randn(4, 3, 50, 41, generator=torch.Generator().manual_seed(1))


def backward(model, x):
    sum(out.square().mean() for out in model(x)).backward()


def worker(rank, name, port_file, grads_file):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{port_file}', rank=rank, world_size=2)
    model = DistributedDataParallel(build(name))
    backward(model, images()[2 * rank : 2 * rank + 2])
    if rank == 0:
        torch.save([p.grad for p in model.module.parameters()], grads_file)
    dist.destroy_process_group()


@pytest.mark.parametrize(
    'name',
    [n if n in ('swin', 'vit') else pytest.param(n, marks=pytest.mark.slow) for n in BUILDERS],
)
def test_gradients_of_two_processes(name, tmp_path):
    files = str(tmp_path / 'port'), str(tmp_path / 'grads.pth')
    in_processes(2, worker, name, *files)
    model = build(name)
    backward(model, images())
    grads = torch.load(files[1])
    assert len(grads) == len(list(model.parameters()))
    for (parameter_name, p), grad in zip(model.named_parameters(), grads):
        torch.testing.assert_close(p.grad, grad, rtol=1e-4, atol=1e-6, msg=parameter_name)
