"""Distillation in two processes with gloo, without what takes them long to import."""

import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mkbackbones.backbones import ManifoldSwin
from mkbackbones.engine.distill import add_distillation


class Small(nn.Module):
    """A model that is its backbone."""

    def __init__(self, key_cfg, seed):
        super().__init__()
        torch.manual_seed(seed)
        arch = dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2))
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


def worker(rank, port_file, grads_file):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{port_file}', rank=rank, world_size=2)
    grads = distilled(DistributedDataParallel)
    if rank == 0:
        torch.save(grads, grads_file)
    dist.destroy_process_group()


def test_two_processes_give_the_gradients_of_one(tmp_path):
    files = str(tmp_path / 'port'), str(tmp_path / 'grads.pth')
    os.environ.setdefault('GLOO_SOCKET_IFNAME', 'lo')
    mp.spawn(worker, args=files, nprocs=2)
    for a, b in zip(distilled(lambda student: student), torch.load(files[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
