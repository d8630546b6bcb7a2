"""The loss of memberships in two processes with gloo."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mkbackbones.backbones import ManifoldSwin
from mkbackbones.engine.membership_loss import add_membership_loss

from ..processes import in_processes


class Model(nn.Module):
    """What mmengine's models have of it: losses in training."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        arch = dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2))
        key_cfg = dict(type='KUA', num_charts=3)
        self.backbone = ManifoldSwin(
            arch, key_cfg, out_indices=1, window_size=4, drop_path_rate=0.0
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2)

    def forward(self, x):
        return dict(loss=self.backbone(x)[0].square().mean())


def images():
    return torch.randn(4, 3, 32, 48, generator=torch.Generator().manual_seed(1))


def backward(model, x):
    losses = model(x)
    (losses['loss'] + losses['loss_membership']).backward()


def worker(rank, port_file, grads_file):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{port_file}', rank=rank, world_size=2)
    model = Model()
    add_membership_loss(model, 3.0, 'tokens')
    wrapped = DistributedDataParallel(model)
    backward(wrapped, images()[2 * rank : 2 * rank + 2])
    if rank == 0:
        torch.save([p.grad for p in model.parameters()], grads_file)
    dist.destroy_process_group()


def test_two_processes_give_the_gradients_of_one(tmp_path):
    files = str(tmp_path / 'port'), str(tmp_path / 'grads.pth')
    in_processes(2, worker, *files)
    model = Model()
    add_membership_loss(model, 3.0, 'tokens')
    backward(model, images())
    for (name, p), grad in zip(model.named_parameters(), torch.load(files[1]), strict=True):
        torch.testing.assert_close(p.grad, grad, rtol=1e-4, atol=1e-6, msg=name)
    gate = model.get_parameter('backbone.layers.0.blocks.0.attn.qkv.key.gate.weight')
    assert gate.grad.abs().max() > 1e-4
