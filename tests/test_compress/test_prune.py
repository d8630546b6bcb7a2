"""Charts that are redundant are found and go without loss; the others are refitted."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mkbackbones.attention.inject import apply_manifold_key
from mkbackbones.attention.qkv import ManifoldQKV
from mkbackbones.compress.prune import blocks
from mkbackbones.compress.prune.blocks import (
    FITS,
    BlockCosts,
    chart_flops,
    charted,
    costs_of_charts,
    prune,
)
from mkbackbones.compress.prune.choice import choices
from mkbackbones.compress.tokens import Tokens
from mkbackbones.cost import count_cost
from mkbackbones.keys import LinearK

from ..test_backbones.common import tiny_dinov3, tiny_swin, tiny_swin_v2, tiny_vit
from ..test_inject.trees import timm_swin, timm_swin_v2, timm_vit
from .test_fold_calibrated import BATCHES, Network, outputs

VARIANTS = ['SimpleK', 'SpatialK', 'VanillaK', 'KUA']
PLANTED = ['copy', 'zero', 'combination', 'straight']


def layer_of(variant, base=True, charts=4, seed=0, **args):
    torch.manual_seed(seed)
    args = {} if variant == 'VanillaK' else args
    qkv = ManifoldQKV(6, dict(type=variant, num_charts=charts, base=base, **args))
    for parameter in qkv.key.parameters():
        nn.init.normal_(parameter, std=0.5)
    return qkv


def plant(key, what):
    """Make chart 2 one that the others, or the base chart, can stand for."""
    with torch.no_grad():
        of_each = [key.weight, key.gamma, key.bias]
        if hasattr(key, 'spatial_weight'):
            of_each.append(key.spatial_weight.unflatten(0, (key.num_charts, -1)))
        if hasattr(key, 'gate'):
            of_each += [key.gate.weight, key.gate.bias]
        if what == 'copy':
            for values in of_each:
                values[2] = values[1]
        elif what == 'zero':
            key.weight[2] = key.bias[2] = 0
            if hasattr(key, 'gate'):  # or its membership would be missed
                key.gate.weight[2] = 0
                key.gate.bias[2] = -40
        elif what == 'straight':  # GELU far from zero is the identity
            key.bias[2] = 60
            if hasattr(key, 'spatial_weight'):
                of_each[3][2] = 0
                of_each[3][2, ..., 1, 1] = 1
            if hasattr(key, 'gate'):
                key.gate.weight[2] = 0
                key.gate.bias[2] = -40
        else:  # of charts 0 and 1, which ReLU lets pass where one is the other's opposite
            for values in of_each:
                values[2] = values[1]
            key.weight[2] *= 0.5
            key.bias[2] *= 0.5
            key.act = nn.ReLU()


def seen(qkv, windows=60, side=4):
    torch.manual_seed(1)
    return [Tokens(torch.randn(windows, side**2, 6), (side, side), 0)]


def spread(key, qkv, tokens):
    """A key's values without what a window has in common."""
    (some,) = tokens
    values = key(some.x, some.grid, 0)
    return (values - values.mean(1, keepdim=True)).detach()


@pytest.mark.parametrize('within', [True, False])
@pytest.mark.parametrize(
    'variant, what',
    # KUA's weights sum to one: none of its charts counts half as much again.
    [(v, w) for v in VARIANTS for w in PLANTED if (v, w) != ('KUA', 'combination')],
)
def test_a_chart_that_others_can_stand_for_goes_without_loss(variant, what, within):
    qkv = layer_of(variant)
    plant(qkv.key, what)
    tokens = seen(qkv)
    fit = FITS[type(qkv.key)](qkv, tokens, within)
    first, lost = fit.order[0]
    assert first in ((1, 2) if what in ('copy', 'combination') else (2,))
    small = fit.key(fit.kept_of(3))
    assert small.num_charts == 3 and small.gamma.shape == (3, 6)
    assert lost < 2e-5 * fit.total and fit.share(lost) > 0.9999
    wanted = spread(qkv.key, qkv, tokens)
    error = (spread(small, qkv, tokens) - wanted).norm() / wanted.norm()
    assert error < 5e-3, error
    if not within:  # the whole key, what a window has in common included
        (some,) = tokens
        a, b = (key(some.x, some.grid, 0) for key in (qkv.key, small))
        assert (a - b).norm() / a.norm() < 5e-3


@pytest.mark.parametrize('base', [True, False])
@pytest.mark.parametrize('variant', VARIANTS)
def test_what_is_lost_is_what_the_refitted_key_lacks(variant, base):
    qkv = layer_of(variant, base)
    tokens = seen(qkv)
    fit = FITS[type(qkv.key)](qkv, tokens, True)
    wanted = spread(qkv.key, qkv, tokens)
    last = 0.0
    for count in range(3, 0 if not base else -1, -1):
        kept = fit.kept_of(count)
        small = fit.key(kept)
        lost = float((spread(small, qkv, tokens) - wanted).double().square().sum())
        plain = copy.deepcopy(qkv.key)  # without a refit
        unfitted = (spread(masked(plain, kept), qkv, tokens) - wanted).double().square().sum()
        assert lost < float(unfitted) * (1 + 1e-5)  # one chart of KUA has nothing to fit
        said = fit.lost_at_last(kept)
        if variant == 'KUA':  # a scale of each channel comes after it
            assert 0.7 * said < lost < 1.01 * said + 1e-6 * fit.total
        else:
            assert lost == pytest.approx(said, rel=1e-2)
            assert lost >= last - 1e-6
        last = lost
    assert len(fit.order) == (4 if base else 3)
    if base:
        assert isinstance(small, LinearK)


def masked(key, kept):
    """A key without charts, and nothing else changed."""
    gone = [h for h in range(key.num_charts) if h not in kept]
    with torch.no_grad():
        key.weight[gone] = 0
        key.bias[gone] = 0
        if hasattr(key, 'gate'):
            key.gate.weight[gone] = 0
            key.gate.bias[gone] = -60
    return key


def test_the_membership_of_a_chart_goes_to_the_others():
    """A chart at zero is not one that does nothing: its share is missed."""
    qkv = layer_of('KUA')
    nn.init.normal_(qkv.key.gate.weight, std=3.0)
    with torch.no_grad():
        qkv.key.weight[2] = qkv.key.bias[2] = 0
    fit = FITS[type(qkv.key)](qkv, seen(qkv), True)
    assert fit.lost([0, 1, 3]) > 1e-3 * fit.total


def test_equal_charts_need_no_weights_of_their_own():
    qkv = layer_of('SimpleK')
    plant(qkv.key, 'zero')
    fit = FITS[type(qkv.key)](qkv, seen(qkv), True)
    small = fit.key(fit.kept_of(3))
    assert small.chart_scale is None
    plant(qkv.key, 'copy')
    fit = FITS[type(qkv.key)](qkv, seen(qkv), True)
    assert fit.key(fit.kept_of(3)).chart_scale.shape == (3,)


def timm(build):
    return lambda key_cfg: apply_manifold_key(build(), key_cfg)


class Injected(Network):
    """A timm model as mmengine's are called."""

    def test_step(self, batch):
        return [self.backbone(nn.functional.interpolate(batch, (64, 64))).mean()]


BACKBONES = {
    'swin': (Network, tiny_swin),
    'swin v2': (Network, tiny_swin_v2),
    'vit': (Network, tiny_vit),
    'dinov3': (Network, tiny_dinov3),
    'timm vit': (Injected, timm(timm_vit)),
    'timm swin': (Injected, timm(timm_swin)),
    'timm swin v2': (Injected, timm(timm_swin_v2)),
}


def results(model):
    with torch.no_grad():
        if isinstance(model, Injected):
            pictures = [nn.functional.interpolate(batch, (64, 64)) for batch in BATCHES]
            return torch.cat([model.backbone(x).flatten() for x in pictures])
        return outputs(model)


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize('variant', ['SpatialK', 'KUA'])
def test_planted_charts_are_found_in_all_blocks_of_a_network(name, variant):
    kind, build = BACKBONES[name]
    try:
        model = kind(build, dict(type=variant, num_charts=3))
    except ValueError as error:
        if 'instead of calling it' not in str(error):
            raise
        pytest.skip("this timm's attention reads the weight of its qkv")
    for layer in charted(model).values():
        plant(layer.key, 'copy')
    wanted = results(model)
    costs = costs_of_charts(model, BATCHES)
    (free,) = choices(costs, budget=1.0)
    assert free.free and set(free.counts) == {2}
    assert free.share == pytest.approx(2 / 3)
    kept = {each.layer: each.kept[2] for each in costs}
    found = prune(model, BATCHES, kept)
    assert [each.layer for each in found] == [each.layer for each in costs]
    for each in found:
        assert (each.before, each.after) == (3, 2)
        assert each.share > 0.999 and each.divergence < 1e-4
    error = (results(model) - wanted).norm() / wanted.norm()
    assert error < 1e-2


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('what', ['copy', 'zero'])
def test_planted_charts_are_found_whatever_the_seed(what, seed):
    """Another network, other pictures: the same charts go, and no others."""
    torch.manual_seed(seed)
    model = Network(tiny_swin, dict(type='SpatialK', num_charts=4))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if '.key.' in name or name.endswith('qv.weight'):
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    for layer in charted(model).values():
        plant(layer.key, what)
    batches = list(torch.randn(4, 3, 3, 48, 64, generator=generator))
    costs = costs_of_charts(model, batches)
    (free,) = choices(costs, budget=1.0)
    assert set(free.counts) == {3}
    for each in costs:
        (gone,) = {0, 1, 2, 3} - set(each.kept[3])
        assert gone in ((1, 2) if what == 'copy' else (2,))


@pytest.mark.parametrize('variant', VARIANTS)
def test_what_a_chart_costs_is_what_the_counter_counts(variant):
    key_cfg = dict(type=variant, num_charts=3)
    flops = [
        count_cost(tiny_vit(key_cfg=dict(key_cfg, num_charts=number)), (48, 64)).flops
        for number in (2, 3)
    ]
    model = Network(tiny_vit, key_cfg)
    costs = costs_of_charts(model, [batch[:1] for batch in BATCHES] * 6)
    assert sum(each.flops for each in costs) == pytest.approx(flops[1] - flops[0], rel=0.02)
    assert all(chart_flops(layer.key) > 0 for layer in charted(model).values())


@pytest.mark.parametrize('name', ['swin', 'vit'])
def test_layers_looked_at_together_or_one_by_one_cost_the_same(name, monkeypatch):
    kind, build = BACKBONES[name]
    model = kind(build, dict(type='SpatialK', num_charts=3))
    passes = []
    step = model.test_step
    monkeypatch.setattr(model, 'test_step', lambda batch: (passes.append(1), step(batch))[1])
    whole = costs_of_charts(model, BATCHES)
    at_once = len(passes)
    monkeypatch.setattr(blocks, 'MEMORY', 0)
    single = costs_of_charts(model, BATCHES)
    # One to find their order, and one of two pictures for what attention is called with.
    assert len(passes) - at_once == 1 + (len(BATCHES) + 1) * len(single)
    assert at_once == 1 + len(BATCHES) + 1
    for a, b in zip(whole, single):
        assert a == b


def made_up(changes, charts, base=True):
    return BlockCosts(
        'x', charts, 0 if base else 1, 10.0, [list(range(n)) for n in range(charts + 1)],
        [1 - c for c in changes], list(changes),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(0, 0.9), min_size=1, max_size=4).map(
            lambda each: [*sorted(each, reverse=True), 0.0]
        ),
        min_size=1, max_size=4,
    ),
    st.floats(0.0, 1.0),
)  # fmt: skip
def test_budgets_are_met_and_choices_shrink(changes, budget):
    costs = [made_up(each, len(each) - 1) for each in changes]
    found = choices(costs, budget)
    assert found[-1].share <= budget + 1e-9 and found[0].free
    for before, after in pairwise(found):
        assert after.share < before.share
        assert all(a <= b for a, b in zip(after.counts, before.counts))
    # Without what the last step took, there would be more than the budget.
    assert len(found) == 1 or found[-2].share > budget
    assert choices(costs)[-1].share == 0


def test_a_budget_that_cannot_be_met_is_told():
    with pytest.raises(ValueError, match='cannot be met'):
        choices([made_up([0.5, 0.3, 0.0], 2, base=False)], 0.2)


def test_a_costly_step_before_a_free_one_is_seen():
    """Both charts of a pair cost nothing more than one of them."""
    costs = [made_up([0.11, 0.1, 0.0], 2), made_up([0.4, 0.06, 0.0], 2)]
    assert choices(costs, 0.5)[-1].counts == (0, 2)


@pytest.mark.parametrize(
    'key_cfg, told',
    [
        (dict(type='SimpleK', act_cfg=None, num_charts=2), 'linear: fold takes'),
        (dict(type='MLPK', match=dict(type='KUA', num_charts=2)), 'no keys with charts'),
        (None, 'no keys with charts'),
    ],
)
def test_models_without_charts_to_prune_are_told(key_cfg, told):
    with pytest.raises(ValueError, match=told):
        costs_of_charts(Network(tiny_vit, key_cfg), BATCHES)


def test_too_few_pictures_are_told():
    model = Network(tiny_swin, dict(type='VanillaK', num_charts=16))
    with pytest.raises(ValueError, match='too few to fit'):
        costs_of_charts(model, BATCHES[:1])
    with pytest.raises(ValueError, match='no picture'):
        costs_of_charts(model, [])
