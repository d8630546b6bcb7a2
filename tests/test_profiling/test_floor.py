"""Operations, traffic and the floor."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mkbackbones.profiling.floor import floor_ms, measure_rates, operations_and_traffic

from ..test_backbones.common import tiny_swin, tiny_vit


class Attend(nn.Module):
    """One linear layer, one attention, and pointwise work around them."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 5)

    def forward(self, x):
        x = F.gelu(self.linear(x.flatten(2).transpose(1, 2)) + 1)  # B, N, 5
        return F.scaled_dot_product_attention(x, x, x)


def test_work_by_hand():
    batch, height, width = 2, 4, 6
    n = height * width
    flops, elements = operations_and_traffic(Attend(), (batch, height, width))
    assert flops == 2 * batch * (n * 3 * 5 + 2 * n * n * 5)
    linear = batch * n * 3 + 5 * 3 + 5 + batch * n * 5
    attention = 4 * batch * n * 5
    assert elements == linear + attention


@pytest.mark.parametrize('build', [tiny_swin, tiny_vit])
def test_counting_leaves_the_model_as_it_was(build):
    model = build(key_cfg=dict(type='SpatialK', num_charts=2)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    operations_and_traffic(model, (1, 50, 70))
    assert model.training
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_work_grows_with_the_batch():
    one, four = (operations_and_traffic(tiny_vit(), (batch, 64, 64))[0] for batch in (1, 4))
    assert four == 4 * one


def test_the_slower_of_the_two_is_the_floor():
    rates = dict(matrix_tflops=dict(bf16=1.0), bandwidth_gbs=1.0)
    assert floor_ms(10**12, 1, 'bf16', rates) == pytest.approx(1000)
    assert floor_ms(1, 10**9, 'bf16', rates) == pytest.approx(2000)
    assert floor_ms(1, 1, 'fp16', rates) is None


def test_rates_are_measured():
    rates = measure_rates(torch.device('cpu'), ['fp32'])
    assert rates['matrix_tflops']['fp32'] > 0
    assert rates['bandwidth_gbs'] > 0
