"""What a trained key does: measured on validation images, and by switching its charts off."""

import copy

import pytest
import torch
from torch.utils.data import DataLoader

from mkbackbones.attention.qkv import ManifoldQKV
from mkbackbones.study.worker.treatment import (
    as_entry,
    check_treatment,
    fold_by_least_squares,
    watch,
    watch_charts,
)

from ...test_backbones.common import tiny_swin, tiny_vit


class Network(torch.nn.Module):
    """A backbone as mmengine's models are called."""

    def __init__(self, build, key_cfg):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = build(key_cfg=key_cfg)
        for name, parameter in self.backbone.named_parameters():
            if '.key.' in name and 'gamma' not in name and 'temperature' not in name:
                torch.nn.init.normal_(parameter, std=0.2)

    def test_step(self, batch):
        return [self.backbone(batch)[-1].mean()]

    def key_layers(self):
        return [module.key for module in self.modules() if isinstance(module, ManifoldQKV)]


IMAGES = torch.randn(9, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def check(model):
    """The treatment, and the output of the network as it was scored."""
    outputs = []

    def score():
        with torch.no_grad():
            outputs.append(model.backbone(IMAGES)[-1])
        return 50.0

    model.eval()
    before = copy.deepcopy(model.state_dict())
    charts = watch_charts(model, DataLoader(list(IMAGES), batch_size=2))
    found = check_treatment(model, charts, score)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name  # as it was
    return found, outputs[-1] if outputs else None


@pytest.mark.parametrize('build', [tiny_swin, tiny_vit])
@pytest.mark.parametrize('key', ['SpatialK', 'KUA', 'VanillaK'])
def test_charts_on_a_base_are_switched_off_by_their_scale(build, key):
    model = Network(build, dict(type=key, num_charts=2))
    for one in model.key_layers():
        torch.nn.init.constant_(one.out_scale, -0.5)
        with torch.no_grad():
            one.gamma[0].neg_()  # as at high learning rates
    found, output = check(model)
    assert found.off == 'scale' and found.score_off == found.score_linear == 50.0
    assert found.out_scale == pytest.approx(0.5)
    # gamma goes from 0.5 to 2: log 4 apart
    assert found.gamma_spread == pytest.approx(torch.tensor([0.5, 2.0]).log().std().item())
    assert found.charts_over_base > 0 and 0 < found.linear_share < 1
    for one in model.key_layers():
        torch.nn.init.zeros_(one.out_scale)
    with torch.no_grad():
        torch.testing.assert_close(output, model.backbone(IMAGES)[-1])
    silent, _ = check(model)
    assert silent.out_scale == silent.charts_over_base == 0


@pytest.mark.parametrize('build', [tiny_swin, tiny_vit])
def test_without_a_base_a_linear_map_takes_their_place(build):
    straight = Network(build, dict(type='SimpleK', num_charts=2, act_cfg=None, base=False))
    found, output = check(straight)
    assert found.off == 'linear' and found.out_scale is None and found.charts_over_base is None
    assert found.score_off == 50.0 and found.score_linear is None
    assert found.linear_share == pytest.approx(1, abs=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(output, straight.backbone(IMAGES)[-1], rtol=1e-3, atol=1e-3)
    curved, _ = check(Network(build, dict(type='SpatialK', num_charts=2, base=False)))
    assert curved.linear_share < 0.95


def test_the_linear_map_is_the_best_one():
    """Against NumPy's least squares on the tokens of one layer."""
    model = Network(tiny_swin, dict(type='SimpleK', num_charts=2, base=False)).eval()
    (layer, *_) = [module for module in model.modules() if isinstance(module, ManifoldQKV)]
    tokens = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0].detach()))
    model.test_step(IMAGES)
    handle.remove()
    x = torch.cat([t.flatten(0, -2) for t in tokens]).double()
    x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    with torch.no_grad():
        wanted = layer.key.charts(tokens[0], None, 0).flatten(0, -2).double()
    # Behind a norm the channels add up to nothing but for rounding, which is nothing to fit.
    best = torch.linalg.lstsq(x, wanted, rcond=1e-5, driver='gelsd').solution
    residual = wanted - x @ best
    left = residual.square().sum() / (len(x) - x.shape[1])
    share = 1 - left / ((wanted - wanted.mean(0)).square().sum() / (len(x) - 1))
    (one,) = watch(model, [layer], DataLoader(list(IMAGES), batch_size=2))
    assert one.linear_share() == pytest.approx(share.item(), abs=1e-5)


def test_as_many_images_as_a_map_takes():
    """A map of 17 parameters an output fits 16 tokens exactly, and tells nothing of others."""
    model = Network(tiny_swin, dict(type='SpatialK', num_charts=2, base=False)).eval()
    layers = [module for module in model.modules() if isinstance(module, ManifoldQKV)]
    images = torch.randn(300, 3, 32, 32)
    seen = [one.seen for one in watch(model, layers, DataLoader(list(images), batch_size=2))]
    tokens, sizes = min(seen), [layer.key.embed_dims + 1 for layer in layers]
    assert all(count >= 10 * size for count, size in zip(seen, sizes))
    assert tokens < 300 * seen[-1] / 32 and 32 * (tokens // 32) == tokens
    few = watch(model, layers, DataLoader(list(images[:1]), batch_size=1))
    assert few[-1].seen <= sizes[-1] and few[-1].linear_share() is None


@pytest.mark.parametrize('batch_size', [1, 2])
def test_no_more_images_at_a_time_than_in_validation(batch_size):
    """Images of several sizes, of which mmseg makes no batch, are validated one by one."""
    model = Network(tiny_swin, dict(type='SpatialK', num_charts=2)).eval()
    layers = [module for module in model.modules() if isinstance(module, ManifoldQKV)]
    images = [torch.randn(3, 32, 32 if batch_size > 1 else 32 + 8 * (i % 2)) for i in range(9)]
    assert all(one.seen for one in watch(model, layers, DataLoader(images, batch_size)))


@pytest.mark.parametrize('base', [True, False])
@pytest.mark.parametrize('key', ['SpatialK', 'KUA', 'VanillaK'])
def test_folded_by_least_squares(key, base):
    """A stock network that computes nearly the same; exactly, where the charts are linear."""
    model = Network(tiny_vit, dict(type=key, num_charts=2, base=base)).eval()
    with torch.no_grad():
        wanted = model.backbone(IMAGES)[-1]
        charts = watch_charts(model, DataLoader(list(IMAGES), batch_size=2))
        fold_by_least_squares(model, charts)
        assert not model.key_layers()
        error = (model.backbone(IMAGES)[-1] - wanted).norm() / wanted.norm()
    tiny_vit().load_state_dict(model.backbone.state_dict())  # strictly
    assert 1e-6 < error < 0.5


def test_controls_and_stock():
    assert check(Network(tiny_swin, None))[0] is None
    plain, _ = check(Network(tiny_swin, dict(type='LinearK')))
    assert as_entry(plain) == {}
    scaled, _ = check(Network(tiny_swin, dict(type='LinearK', temperature=True)))
    assert as_entry(scaled) == {'temperature': 1.0}
    match = dict(type='SpatialK', num_charts=2)
    mlp, _ = check(Network(tiny_swin, dict(type='MLPK', match=match, spatial=True)))
    assert mlp.off == 'scale' and mlp.gamma_spread is None and mlp.charts_over_base > 0


def test_a_failing_score_leaves_the_network_as_it_was():
    model = Network(tiny_vit, dict(type='KUA', num_charts=2)).eval()
    before = copy.deepcopy(model.state_dict())

    def score():
        raise RuntimeError('no memory')

    with pytest.raises(RuntimeError, match='no memory'):
        charts = watch_charts(model, DataLoader(list(IMAGES), batch_size=2))
        check_treatment(model, charts, score)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(module._forward_pre_hooks for module in model.modules())
