"""Distillation in two processes with gloo."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mkbackbones.backbones import ManifoldSwin
from mkbackbones.engine.distill import add_distillation
from mkbackbones.engine.distill_adapters import Adapters

from ..processes import in_processes


class Small(nn.Module):
    """A model that is its backbone."""

    def __init__(self, key_cfg, seed, width=8):
        super().__init__()
        torch.manual_seed(seed)
        arch = dict(embed_dims=width, depths=(1, 1), num_heads=(1, 2))
        self.backbone = ManifoldSwin(
            arch, key_cfg, out_indices=1, window_size=4, drop_path_rate=0.0
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2)

    def extract_feat(self, inputs):
        return self.backbone(inputs)

    def forward(self, inputs):
        return dict(loss=self.extract_feat(inputs)[0].square().mean())


def distilled(wrap):
    student = Small(None, 0)
    teacher = Small(dict(type='KUA', num_charts=2), 1).eval()
    add_distillation(student, teacher, 1.0, 1.0, attention=1.0)
    wrapped = wrap(student)
    # Equal pictures in both processes: variances are those of a process's own pictures.
    x = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    sum(wrapped(x).values()).backward()
    return [p.grad for p in student.parameters()]


def adapted(wrap, rank, seed):
    """Gradients of a student of another width and of its adapters."""
    student = Small(None, 0, width=12)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    add_distillation(student, Small(None, 1).eval(), adapters=Adapters(optimizer))
    wrapped = wrap(student)
    x = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(rank))
    torch.manual_seed(seed)
    sum(wrapped(x).values()).backward()
    (group,) = optimizer.param_groups
    assert len(group['params']) == len(list(student.parameters())) + 2
    return [p.grad for p in group['params']]


def worker(rank, port_file, grads_file):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{port_file}', rank=rank, world_size=2)
    grads = distilled(DistributedDataParallel), adapted(DistributedDataParallel, rank, seed=rank)
    torch.save(grads, f'{grads_file}{rank}')
    dist.destroy_process_group()


def test_two_processes_give_the_gradients_of_one(tmp_path):
    files = str(tmp_path / 'port'), str(tmp_path / 'grads.pth')
    in_processes(2, worker, *files)
    first, second = (torch.load(f'{files[1]}{rank}') for rank in range(2))
    for a, b in zip(distilled(lambda student: student), first[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    # Adapters too: other pictures in each process, and the adapters of the first.
    alone = [adapted(lambda student: student, rank, seed=0) for rank in range(2)]
    for a, b, *both in zip(*alone, first[1], second[1], strict=True):
        for each in both:
            torch.testing.assert_close((a + b) / 2, each, rtol=1e-4, atol=1e-6)
