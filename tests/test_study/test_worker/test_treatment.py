"""What a trained key does: measured on validation images, and by switching its charts off."""

import copy

import pytest
import torch
from torch.utils.data import DataLoader

from mkbackbones.attention.qkv import ManifoldQKV
from mkbackbones.study.worker.treatment import as_entry, check_treatment, watch

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
    found = check_treatment(model, DataLoader(list(IMAGES), batch_size=2), score)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name  # as it was
    return found, outputs[0] if outputs else None


@pytest.mark.parametrize('build', [tiny_swin, tiny_vit])
@pytest.mark.parametrize('key', ['SpatialK', 'KUA', 'VanillaK'])
def test_charts_on_a_base_are_switched_off_by_their_scale(build, key):
    model = Network(build, dict(type=key, num_charts=2))
    for one in model.key_layers():
        torch.nn.init.constant_(one.out_scale, -0.5)
    found, output = check(model)
    assert found.off == 'scale' and found.score_off == 50.0
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
    share = 1 - residual.square().sum() / (wanted - wanted.mean(0)).square().sum()
    (one,) = watch(model, [layer], DataLoader(list(IMAGES), batch_size=2))
    assert one.linear_share() == pytest.approx(share.item(), abs=1e-5)


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
        check_treatment(model, DataLoader(list(IMAGES), batch_size=2), score)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(module._forward_pre_hooks for module in model.modules())
