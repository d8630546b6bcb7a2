"""Keys: registry, arguments, linear maps, controls, stock start."""

import pytest
import torch

from mkbackbones.keys import ManifoldKey, build_key, keys_per_block
from mkbackbones.keys.base import initial_gamma
from mkbackbones.keys.controls import count_parameters
from mkbackbones.registry import KEYS

LINEAR = [
    dict(type='VanillaK', act_cfg=None),
    dict(type='VanillaK', act_cfg=None, num_charts=3, chart_channels=7),
    dict(type='SimpleK', act_cfg=None),
    dict(type='KUA', act_cfg=None),
    dict(type='SpatialK', act_cfg=None),
]


def test_registry_holds_the_papers_names():
    assert {'VanillaK', 'SimpleK', 'KUA', 'SpatialK', 'LinearK', 'MLPK'} <= set(KEYS.module_dict)


def test_own_variant_in_a_few_lines():
    class LastK(ManifoldKey):
        def aggregate(self, z, x):
            return z[..., -1, :]

    KEYS.register_module(module=LastK, force=True)
    try:
        key = build_key(dict(type='LastK', num_charts=2, base=False), 8)
        assert key(torch.randn(1, 5, 8)).shape == (1, 5, 8)
    finally:
        KEYS.module_dict.pop('LastK')


@pytest.mark.parametrize(
    ('cfg', 'words'),
    [
        (
            dict(type='SpatialKey'),
            ["'SpatialKey' is unknown", 'VanillaK', "did you mean 'SpatialK'"],
        ),
        (
            dict(type='SimpleK', num_chart=4),
            ["'num_chart' is unknown", "did you mean 'num_charts'"],
        ),
        (dict(type='SimpleK', num_charts=0), ['num_charts=0', 'at least 1']),
        (dict(type='SimpleK', num_charts=True), ['num_charts=True']),
        (dict(type='SimpleK', chart_channels=4), ['chart_channels=4', 'SimpleK', '16', 'VanillaK']),
        (dict(type='VanillaK', chart_channels=0), ['chart_channels=0']),
        (dict(type='KUA', act_cfg=dict(type='Gelu')), ["'Gelu' is unknown", "did you mean 'GELU'"]),
        (dict(type='KUA', act_cfg='GELU'), ['act_cfg', "dict(type='GELU')"]),
        (dict(type='KUA', gamma_init=-1.0), ['gamma_init=-1.0', 'positive']),
        (dict(type='KUA', gamma_init='ones'), ["gamma_init='ones'", 'one number']),
        (dict(type='SpatialK', kernel_size=2), ['kernel_size=2', 'odd']),
        (dict(type='MLPK', match=dict(type='LinearK')), ['match=', 'charts']),
        (
            dict(type='MLPK', match=dict(type='KUA'), spatial=True),
            ['spatial=True', "'KUA'", 'match a SpatialK'],
        ),
        (dict(type='MLPK', match=dict(type='SpatialK'), spatial=3), ['spatial=3']),
        (dict(type='MLPK', spatial=True), ['match=None', 'give the key_cfg of a variant']),
        (dict(type='LinearK', temperature=2.0), ['temperature=2.0']),
        (dict(num_charts=8), ["key_cfg.type 'None' is unknown"]),
    ],
)
def test_wrong_input_is_one_clear_sentence(cfg, words):
    with pytest.raises(ValueError) as error:
        build_key(cfg, embed_dims=16)
    message = str(error.value)
    assert '\n' not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize('cfg', LINEAR[:3])
@pytest.mark.parametrize('base', [True, False])
def test_linear_map_is_the_key(cfg, base):
    torch.manual_seed(0)
    key = build_key(dict(cfg, base=base), 16).double()
    for p in key.parameters():
        torch.nn.init.normal_(p)
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    charts = key.charts(x, None, 0)
    wanted = charts if key.base is None else key.base(x) + key.out_scale * charts
    torch.testing.assert_close(key(x), wanted)


@pytest.mark.parametrize('variant', ['SimpleK', 'SpatialK'])
def test_charts_with_weights_start_as_their_mean_and_are_a_sum(variant):
    torch.manual_seed(0)
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    plain = build_key(dict(type=variant, num_charts=3, base=False), 16).double()
    key = build_key(dict(type=variant, num_charts=3, base=False, chart_scale=True), 16).double()
    missing = key.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing == ['chart_scale']
    torch.testing.assert_close(key(x, (3, 3)), plain(x, (3, 3)))
    torch.nn.init.normal_(key.chart_scale)
    z = key.each_chart(x, (3, 3), 0)
    wanted = sum(key.chart_scale[h] * z[:, :, h] for h in range(3))
    torch.testing.assert_close(key(x, (3, 3)), wanted)
    with pytest.raises(ValueError, match='chart_scale=2'):
        build_key(dict(type=variant, chart_scale=2), 16)


def test_the_linear_map_has_the_charts_weights():
    torch.manual_seed(0)
    key = build_key(dict(type='SimpleK', num_charts=3, act_cfg=None, chart_scale=True), 16)
    for parameter in key.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 5, 16)
    wanted = key.base(x) + key.out_scale * key.charts(x, None, 0)
    torch.testing.assert_close(torch.nn.functional.linear(x, *key.linear_map()), wanted)


@pytest.mark.parametrize('cfg', LINEAR, ids=lambda c: c['type'])
@pytest.mark.parametrize('has_bias', [True, False])
def test_linear_charts_start_from_stock(cfg, has_bias):
    """base=False: a stock projection is reproduced, and the charts then move apart."""
    torch.manual_seed(0)
    key = build_key(dict(cfg, base=False), 16)
    weight, bias = torch.randn(16, 16), torch.randn(16) if has_bias else None
    assert key.load_stock(weight, bias)
    x = torch.randn(2, 9, 16)
    wanted = torch.nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(key(x, (3, 3)), wanted, rtol=1e-5, atol=1e-5)

    optimizer = torch.optim.SGD(key.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        key(x, (3, 3)).square().mean().backward()
        optimizer.step()
    maps = key.weight * key.gamma[:, None]
    for h in range(1, key.num_charts):
        assert (maps[h] - maps[0]).abs().max() > 1e-5


def test_charts_too_few_for_stock_say_so():
    key = build_key(
        dict(type='VanillaK', num_charts=2, chart_channels=3, act_cfg=None, base=False), 16
    )
    before = {n: p.clone() for n, p in key.named_parameters()}
    assert not key.load_stock(torch.randn(16, 16), None)
    for name, p in key.named_parameters():
        assert torch.equal(p, before[name])


def test_nonlinear_charts_without_base_keep_their_start():
    key = build_key(dict(type='SimpleK', base=False), 16)
    before = key.weight.clone()
    assert not key.load_stock(torch.randn(16, 16), torch.randn(16))
    assert torch.equal(key.weight, before)


@pytest.mark.parametrize('variant', ['VanillaK', 'SimpleK', 'KUA', 'SpatialK'])
@pytest.mark.parametrize('dims', [96, 192, 384, 768])
@pytest.mark.parametrize('base', [True, False])
def test_mlp_matches_the_parameter_count(variant, dims, base):
    match = dict(type=variant, num_charts=8, base=base)
    with torch.device('meta'):
        control = build_key(dict(type='MLPK', match=match), dims)
        wanted = count_parameters(build_key(match, dims))
    assert abs(count_parameters(control) - wanted) <= 0.01 * wanted
    assert (control.base is not None) == base


@pytest.mark.parametrize('side', [3, 5])
@pytest.mark.parametrize('dims', [96, 192, 384, 768])
@pytest.mark.parametrize('base', [True, False])
def test_mixing_mlp_matches_parameters_and_multiplications(dims, base, side):
    match = dict(type='SpatialK', num_charts=8, base=base, kernel_size=side)
    with torch.device('meta'):
        control = build_key(dict(type='MLPK', match=match, spatial=True), dims)
        wanted = build_key(match, dims)
    assert abs(count_parameters(control) / count_parameters(wanted) - 1) <= 0.01
    assert control.spatial_weight.shape[-2:] == (side, side)
    # A weight multiplies once a token, but for Gamma, which is folded in.
    macs = count_parameters(wanted) - wanted.gamma.numel()
    assert abs(count_parameters(control) / macs - 1) <= 0.02


def test_mixing_mlp_starts_as_the_plain_one_and_then_reads_neighbours():
    match = dict(type='SpatialK', num_charts=2, base=False)
    key = build_key(dict(type='MLPK', match=match, spatial=True), 16)
    x = torch.randn(1, 13, 16)  # a class token and 3 x 4
    plain = key.fc2(key.act(key.fc1(x)))
    torch.testing.assert_close(key(x, (3, 4), 1), plain)
    torch.nn.init.normal_(key.spatial_weight)
    moved = x.clone()
    moved[:, 1] += 1  # upper left corner
    changed = (key(moved, (3, 4), 1) - key(x, (3, 4), 1)).abs().sum(-1)[0] > 0
    assert changed.nonzero().flatten().tolist() == [1, 2, 5, 6]
    moved = x.clone()
    moved[:, 0] += 1  # the class token bypasses the mixing
    changed = (key(moved, (3, 4), 1) - key(x, (3, 4), 1)).abs().sum(-1)[0] > 0
    assert changed.nonzero().flatten().tolist() == [0]


def test_temperature_scales_the_key_and_is_trained():
    key = build_key(dict(type='LinearK', temperature=True), 16)
    weight, bias, x = torch.randn(16, 16), torch.randn(16), torch.randn(2, 5, 16)
    torch.nn.init.constant_(key.temperature, 3.0)
    assert key.load_stock(weight, bias)
    torch.testing.assert_close(key(x), torch.nn.functional.linear(x, weight, bias))
    key(x).square().mean().backward()
    assert key.temperature.grad.abs() > 0
    torch.nn.init.constant_(key.temperature, 0.5)
    torch.testing.assert_close(key(x), 0.5 * torch.nn.functional.linear(x, weight, bias))


def test_mlp_prints_the_difference_once(monkeypatch):
    printed = []
    monkeypatch.setattr('mkbackbones.keys.controls.print_log', lambda m, logger: printed.append(m))
    for _ in range(2):
        build_key(dict(type='MLPK', match=dict(type='KUA', num_charts=5)), 40)
    assert printed == ['MLPK at 40 channels: 10306 parameters against 10285 of KUA (+0.20%)']


def test_membership_sums_to_one():
    key = build_key(dict(type='KUA', num_charts=4), 16)
    p = key.membership(torch.randn(2, 5, 16))
    assert p.shape == (2, 5, 4)
    torch.testing.assert_close(p.sum(-1), torch.ones(2, 5))


def test_spatial_asks_for_a_grid_that_fits():
    key = build_key(dict(type='SpatialK'), 16)
    with pytest.raises(ValueError, match='no square'):
        key(torch.randn(1, 6, 16))
    with pytest.raises(ValueError, match='2x2 does not fit 6 tokens'):
        key(torch.randn(1, 6, 16), (2, 2))
    assert key(torch.randn(1, 10, 16), None, num_prefix_tokens=1).shape == (1, 10, 16)


def test_gamma_spreads_between_its_ends():
    gamma = initial_gamma((0.5, 2.0), 3)
    torch.testing.assert_close(gamma, torch.tensor([0.5, 1.0, 2.0]))
    torch.testing.assert_close(initial_gamma(1.5, 2), torch.tensor([1.5, 1.5]))
    torch.testing.assert_close(initial_gamma((0.5, 2.0), 1), torch.tensor([1.0]))


def test_keys_for_some_blocks():
    cfg = dict(type='SimpleK', num_charts=2)
    depths = (2, 2, 6, 2)
    assert keys_per_block(None, depths) == [None] * 12
    assert keys_per_block(cfg, depths) == [cfg] * 12
    last_stages = keys_per_block(dict(cfg, stages=[2, -1]), depths)
    assert [c is not None for c in last_stages] == [False] * 4 + [True] * 8
    some = keys_per_block([dict(cfg, blocks=[0, -1]), dict(type='KUA', blocks=5)], depths)
    assert [i for i, c in enumerate(some) if c == cfg] == [0, 11]
    assert some[5] == dict(type='KUA')


@pytest.mark.parametrize(
    ('cfg', 'word'),
    [
        (dict(type='KUA', blocks=[12]), 'key_cfg.blocks holds 12.*0 to 11'),
        (dict(type='KUA', stages=[4]), 'key_cfg.stages holds 4.*0 to 3'),
        (dict(type='KUA', blocks=[]), 'empty'),
        (dict(type='KUA', blocks=[1, 1]), 'twice'),
        (dict(type='KUA', blocks=[0], stages=[0]), 'not both'),
        ([dict(type='KUA'), dict(type='SimpleK', blocks=[3])], 'block 3 twice'),
        ('KUA', 'not understood'),
    ],
)
def test_blocks_that_do_not_exist(cfg, word):
    with pytest.raises(ValueError, match=word):
        keys_per_block(cfg, (2, 2, 6, 2))
