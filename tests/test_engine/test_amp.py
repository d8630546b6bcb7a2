"""Training in bfloat16."""

import threading

import torch
from torch import nn

from mkbackbones.engine import BFloat16OptimWrapper


def test_the_backward_pass_runs_in_the_calling_thread():
    model = nn.Linear(2, 1)
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0))
    seen = []
    with wrapper.optim_context(model):
        out = model(torch.ones(1, 2))
        assert out.dtype == torch.bfloat16
    loss = out.float().sum()

    def look(grad):
        seen.append((threading.get_ident(), torch.autograd.is_multithreading_enabled()))

    out.register_hook(look)
    before = model.weight.detach().clone()
    wrapper.update_params(loss)
    assert seen == [(threading.get_ident(), False)]
    assert torch.autograd.is_multithreading_enabled()
    torch.testing.assert_close(model.weight.detach(), before - 1)
