"""Each variant against a literal, slow implementation of its formula, values and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mkbackbones.attention.qkv import ManifoldQKV
from mkbackbones.keys import build_key

from .literal import literal_key

VARIANTS = ('VanillaK', 'SimpleK', 'KUA', 'SpatialK')


def randomise(module):
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return module.double()


def key_and_input(variant, act, base, num_charts, grid, num_prefix, bias=True, **args):
    cfg = dict(
        type=variant,
        num_charts=num_charts,
        act_cfg=None if act is None else dict(type=act),
        base=base,
        **args,
    )
    key = randomise(build_key(cfg, embed_dims=6, bias=bias))
    tokens = num_prefix + grid[0] * grid[1]
    return key, torch.randn(2, tokens, 6, dtype=torch.float64, requires_grad=True)


@settings(max_examples=60, deadline=None)
@given(
    variant=st.sampled_from(VARIANTS),
    act=st.sampled_from([None, 'GELU', 'Tanh']),
    base=st.booleans(),
    bias=st.booleans(),
    num_charts=st.integers(1, 4),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    num_prefix=st.integers(0, 2),
    seed=st.integers(0, 2**16),
)
def test_values_and_gradients(variant, act, base, bias, num_charts, grid, num_prefix, seed):
    torch.manual_seed(seed)
    key, x = key_and_input(variant, act, base, num_charts, grid, num_prefix, bias)
    probe = torch.randn(*x.shape, dtype=torch.float64)

    k = key(x, grid, num_prefix)
    wanted = literal_key(
        variant, dict(key.named_parameters()), x, num_charts, act, grid, num_prefix
    )
    torch.testing.assert_close(k, wanted, rtol=1e-9, atol=1e-9)

    leaves = [x, *key.parameters()]
    found = torch.autograd.grad((k * probe).sum(), leaves)
    expected = torch.autograd.grad((wanted * probe).sum(), leaves)
    for got, want in zip(found, expected):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize('chart_channels', [1, 3, 9])
def test_vanilla_takes_any_chart_width(chart_channels):
    torch.manual_seed(0)
    key, x = key_and_input('VanillaK', 'GELU', True, 3, (2, 3), 0, chart_channels=chart_channels)
    wanted = literal_key('VanillaK', dict(key.named_parameters()), x, 3, 'GELU')
    torch.testing.assert_close(key(x), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('base', [True, False])
@pytest.mark.parametrize('act', [None, 'GELU'])
def test_fused_layer_equals_its_parts(variant, base, act):
    """The fused GEMMs of ManifoldQKV compute [q, k, v] of the literal formulas."""
    torch.manual_seed(0)
    act_cfg = None if act is None else dict(type=act)
    cfg = dict(type=variant, num_charts=3, act_cfg=act_cfg, base=base)
    qkv = randomise(ManifoldQKV(6, cfg))
    qkv.grid, qkv.num_prefix_tokens = (2, 3), 1
    x = torch.randn(2, 7, 6, dtype=torch.float64, requires_grad=True)
    q, k, v = qkv(x).chunk(3, dim=-1)
    wanted_q, wanted_v = (x @ qkv.qv.weight.T + qkv.qv.bias).chunk(2, dim=-1)
    params = dict(qkv.key.named_parameters())
    wanted_k = literal_key(variant, params, x, 3, act, (2, 3), 1)
    for got, want in ((q, wanted_q), (k, wanted_k), (v, wanted_v)):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    probe = torch.randn(2, 7, 18, dtype=torch.float64)
    leaves = [x, *qkv.parameters()]
    found = torch.autograd.grad((qkv(x) * probe).sum(), leaves)
    together = torch.cat([wanted_q, wanted_k, wanted_v], -1)
    expected = torch.autograd.grad((together * probe).sum(), leaves)
    for got, want in zip(found, expected):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


def test_no_copy_of_the_input_for_each_chart():
    """No intermediate of H x C channels before the charts: Gamma lives in the weights."""
    key = build_key(dict(type='VanillaK', num_charts=8, chart_channels=1), embed_dims=64)
    x = torch.randn(1, 128, 64)
    largest = 0

    def pack(t):
        nonlocal largest
        largest = max(largest, t.numel())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        key(x)
    assert largest <= x.numel()
