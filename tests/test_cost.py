"""Parameters and operations of backbones."""

from torch import nn

from mkbackbones.study import count_cost

from .test_backbones.common import tiny_swin, tiny_vit


def test_convolution_by_hand():
    model = nn.Conv2d(3, 5, 3, padding=1)
    cost = count_cost(model, (4, 6))
    assert cost.parameters == 5 * 3 * 9 + 5
    assert cost.flops == 2 * (4 * 6) * (5 * 3 * 9)


def test_attention_counts():
    """A global ViT by hand: projections, scores, weighted values, MLP and patch embedding."""
    model = tiny_vit(out_indices=(3,))
    tokens, dims, depth = 1 + 16, 32, 4
    block = tokens * dims * (3 * dims + dims + 8 * dims) + 2 * tokens * tokens * dims
    embedding = 16 * dims * 3 * 16 * 16
    assert count_cost(model, (64, 64)).flops == 2 * (depth * block + embedding)


def test_training_mode_is_left_as_it_was():
    model = tiny_swin().train()
    count_cost(model, (64, 64))
    assert model.training
    assert not any(buffer.is_meta for buffer in model.buffers())
    assert all(p.grad is None for p in model.parameters())


def test_manifold_key_costs_what_its_charts_cost():
    stock, manifold = tiny_vit(), tiny_vit(key_cfg=dict(type='SimpleK', num_charts=3))
    difference = count_cost(manifold, (64, 64)).flops - count_cost(stock, (64, 64)).flops
    assert difference == 2 * 4 * (1 + 16) * 3 * 32 * 32
