"""Keys with charts as the linear keys that come closest on some pictures."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mkbackbones.attention.inject import parent_of
from mkbackbones.attention.qkv import ManifoldQKV
from mkbackbones.attention.weights import AttentionWeights, divergence
from mkbackbones.backbones import ManifoldSwin, ManifoldViT
from mkbackbones.compress.checkpoint import kept_keys
from mkbackbones.compress.fold_calibrated import (
    calls_of,
    charted_layers,
    fold_calibrated,
    is_blind_to_shifts,
    running_order,
)
from mkbackbones.compress.linear_fit import LinearFit
from mkbackbones.compress.pictures import first_pictures

from ..test_backbones.common import tiny_dinov3, tiny_swin, tiny_swin_v2, tiny_vit

SPATIAL = dict(type='SpatialK', num_charts=2)


class Network(nn.Module):
    """A backbone as mmengine's models are called."""

    def __init__(self, build, key_cfg, **args):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = build(key_cfg=key_cfg, **args)
        for name, parameter in self.backbone.named_parameters():
            if '.key.' in name:
                nn.init.normal_(parameter, std=0.3)
            elif name.endswith('qv.weight'):
                nn.init.normal_(parameter, std=0.2)
        self.eval()

    def test_step(self, batch):
        return [self.backbone(batch)[-1].mean()]


BATCHES = list(torch.randn(4, 3, 3, 48, 64, generator=torch.Generator().manual_seed(1)))


def outputs(model):
    with torch.no_grad():
        return torch.cat([model.backbone(batch)[-1].flatten() for batch in BATCHES])


@pytest.mark.parametrize('build', [tiny_swin, tiny_swin_v2, tiny_vit, tiny_dinov3])
def test_what_is_left_is_stock_and_closer_than_without_charts(build):
    model = Network(build, SPATIAL)
    stock = build(key_cfg=None)
    wanted = outputs(model)
    without = copy.deepcopy(model)
    for layer in charted_layers(without).values():
        nn.init.zeros_(layer.key.out_scale)
    names = list(charted_layers(model))
    found = fold_calibrated(model, BATCHES)
    assert [each.layer for each in found] == names and all(each.folded for each in found)
    assert not any(isinstance(module, ManifoldQKV) for module in model.modules())
    stock.load_state_dict(model.backbone.state_dict())
    for each in found:
        assert 0.3 < each.key_share < 1 and each.charts_share < each.key_share
        assert 0 < each.divergence < 1
    lost, lost_without = ((outputs(m) - wanted).norm() for m in (model, without))
    assert lost < lost_without


@pytest.mark.parametrize('build', [tiny_swin, tiny_vit])
def test_charts_that_are_linear_are_found_to_the_last_digits(build):
    """GELU far from zero is the identity."""
    model = Network(build, dict(type='VanillaK', num_charts=2))
    for layer in charted_layers(model).values():
        nn.init.constant_(layer.key.bias, 60.0)
    wanted = outputs(model)
    for each in fold_calibrated(model, BATCHES):
        assert each.key_share > 0.9999 and each.divergence < 1e-4
    torch.testing.assert_close(outputs(model), wanted, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    'build, blind',
    [(tiny_swin, True), (tiny_vit, True), (tiny_swin_v2, False), (tiny_dinov3, False)],
)
def test_it_is_measured_whether_a_shift_of_all_keys_is_seen(build, blind):
    model = Network(build, SPATIAL)
    for name, layer in charted_layers(model).items():
        attention = parent_of(model, name)
        (seen,) = calls_of(model, {name: attention}, BATCHES).values()
        assert is_blind_to_shifts(attention, layer, seen) is blind


@pytest.mark.parametrize('sizes', [(3, 3), (1, 1, 4), (2, 4)])
def test_attention_is_compared_in_two_pictures_however_they_are_batched(sizes):
    model = Network(tiny_vit, SPATIAL)
    pictures = torch.cat(BATCHES)[: sum(sizes)]
    (name, *_) = charted_layers(model)
    attention = {name: parent_of(model, name)}
    (wanted,) = calls_of(model, attention, [pictures[:2]])[name]
    calls = calls_of(model, attention, pictures.split(sizes))[name]
    torch.testing.assert_close(torch.cat([args[0] for args, _ in calls]), wanted[0][0])
    samples = list(range(len(pictures)))
    batches = [dict(inputs=[*pictures[i : i + 3]], data_samples=samples[i : i + 3]) for i in (0, 3)]
    assert [each['data_samples'] for each in first_pictures(batches, 2)] == [samples[:2]]


def test_what_is_common_to_a_window_does_not_spoil_the_fit():
    torch.manual_seed(0)
    qkv = ManifoldQKV(6, dict(type='VanillaK', num_charts=2))
    nn.init.constant_(qkv.key.bias, 60.0)  # linear
    nn.init.constant_(qkv.key.out_scale, 1.0)
    windows = torch.randn(50, 16, 6)
    charts = qkv.key.charts
    shift = 5 * torch.randn(50, 1, 6)
    qkv.key.charts = lambda x, *grid: charts(x, *grid) + shift
    exact, spoilt = LinearFit(qkv, within=True), LinearFit(qkv)
    for fit in (exact, spoilt):
        fit(qkv, (windows,))
    assert exact.linear_share() > 0.9999 > 0.5 > spoilt.linear_share()
    # And the bias is that of the mean, for numbers of the same size.
    mean = (charts(windows, None, 0) + shift).flatten(0, 1).mean(0)
    found = torch.cat([windows.flatten(0, 1).mean(0).double(), torch.ones(1)]) @ exact.linear
    torch.testing.assert_close(found.float(), mean, atol=1e-4, rtol=1e-4)


def test_each_is_fitted_behind_those_that_are_folded():
    model = Network(tiny_vit, SPATIAL)
    wanted = copy.deepcopy(model)
    fold_calibrated(model, BATCHES)
    names = running_order(wanted, charted_layers(wanted), BATCHES[0])
    for name in names:  # by hand: fit on what comes there now, replace, go on
        layer = wanted.get_submodule(name)
        fit = LinearFit(layer, within=True, ridge=1e-6)
        hook = layer.register_forward_pre_hook(fit)
        outputs(wanted)
        hook.remove()
        layer.key = fit.linear_key(layer.key)
    torch.testing.assert_close(outputs(model), outputs(wanted), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('build, family', [(tiny_swin, ManifoldSwin), (tiny_vit, ManifoldViT)])
def test_keys_that_are_not_linear_enough_stay(build, family):
    mixed = [
        dict(type='VanillaK', num_charts=2, blocks=[0, 1]),
        dict(SPATIAL, blocks=[2, -1]),
    ]
    model = Network(build, mixed)
    shares = [each.charts_share for each in fold_calibrated(copy.deepcopy(model), BATCHES)]
    found = fold_calibrated(model, BATCHES, keep_worse_than=sorted(shares)[2])
    kept = [block for block, each in enumerate(found) if not each.folded]
    assert 1 <= len(kept) <= 3
    key_cfg = kept_keys(model.backbone, mixed, found)
    named = {block: entry['type'] for entry in key_cfg for block in entry['blocks']}
    assert named == {block: ['VanillaK', 'SpatialK'][block > 1] for block in kept}
    again = Network(build, key_cfg)
    assert isinstance(again.backbone, family)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(outputs(again), outputs(model))
    for each in found:
        each.folded = True
    assert kept_keys(model.backbone, mixed, found) is None


def test_nothing_to_fold_and_nothing_to_see_are_told():
    with pytest.raises(ValueError, match='no keys with nonlinear charts'):
        fold_calibrated(Network(tiny_swin, None), BATCHES)
    with pytest.raises(ValueError, match='no picture'):
        fold_calibrated(Network(tiny_swin, SPATIAL), [])


def test_attention_is_heard_however_it_is_written():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 5, 4)
    mask = torch.randn(5, 5)
    allowed = torch.ones(5, 5, dtype=torch.bool).tril()
    with AttentionWeights() as heard:
        F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.3)
        F.scaled_dot_product_attention(q, k, v, is_causal=True)
        F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        ((q @ k.mT) * 0.3 + mask).softmax(-1)
        nn.Softmax(dim=-1)((q @ k.mT) * 0.3 + mask)
        torch.softmax(torch.randn(3, 4), -1)  # no attention
        torch.randn(2, 3, 4, 4).softmax(1)
    first, causal, allowed, *written = heard.found
    assert len(written) == 2
    for each in written:
        torch.testing.assert_close(each, first)
    torch.testing.assert_close(causal, allowed)
    assert divergence(first, first) == 0
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):  # rounding alone is below zero now and then
        logits = torch.rand(4, 49, generator=generator)
        close = logits + 1e-7 * torch.randn(4, 49, generator=generator)
        assert divergence(logits.softmax(-1), close.softmax(-1)) >= 0
    literal = (first * (first / causal.clamp(min=1e-30)).log()).sum(-1).mean()
    assert divergence(first, causal.clamp(min=1e-30)) == pytest.approx(literal.item(), rel=1e-4)
