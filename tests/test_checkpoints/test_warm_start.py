"""Warm start: the stock network at step 0, charts that grow from there."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mkbackbones.attention.qkv import ManifoldQKV
from mkbackbones.checkpoints import load_checkpoint

from .peers import (
    SWIN_T,
    VIT_S,
    difference,
    manifold_swin,
    manifold_vit,
    mm_swin,
    timm_vit,
    timm_vit_features,
)

VARIANTS = ('VanillaK', 'SimpleK', 'KUA', 'SpatialK')
BASED = [dict(type=name, num_charts=4) for name in VARIANTS]
BASED += [dict(type='MLPK', match=dict(type='KUA', num_charts=4)), dict(type='LinearK')]
BASED += [dict(type='LinearK', temperature=True)]
BASED += [dict(type='MLPK', match=dict(type='SpatialK', num_charts=4), spatial=True)]
BASED += [dict(type='VanillaK', num_charts=4, act_cfg=None)]
LINEAR = [dict(type=name, num_charts=4, act_cfg=None, base=False) for name in VARIANTS]
EXACT = BASED + LINEAR


def key_name(cfg):
    return (
        cfg['type']
        + ('' if 'act_cfg' not in cfg else '-linear')
        + ('' if cfg.get('base', True) else '-bare')
    )


@pytest.mark.parametrize('key_cfg', EXACT, ids=key_name)
def test_swin_starts_as_the_stock_network(key_cfg):
    peer = mm_swin('mmdet')
    ours = manifold_swin(key_cfg=key_cfg)
    report = load_checkpoint(ours, peer.state_dict(), strict=True)
    assert report.own_init == []
    for size in ((61, 37), (9, 130)):
        assert difference(ours, peer, torch.randn(2, 3, *size)) < 1e-4


@pytest.mark.parametrize('key_cfg', EXACT, ids=key_name)
@pytest.mark.parametrize('qkv_bias', [True, False])
def test_vit_starts_as_the_stock_network(key_cfg, qkv_bias):
    peer = timm_vit(qkv_bias=qkv_bias)
    ours = manifold_vit(key_cfg=key_cfg, qkv_bias=qkv_bias)
    load_checkpoint(ours, peer.state_dict(), strict=True)
    x = torch.randn(2, 3, 80, 48)
    assert difference(ours, timm_vit_features(peer, x), x) < 1e-4


@pytest.mark.parametrize('name', VARIANTS)
def test_nonlinear_bare_keys_say_that_they_start_anew(name):
    ours = manifold_vit(key_cfg=dict(type=name, base=False, num_charts=2))
    report = load_checkpoint(ours, timm_vit().state_dict(), strict=True)
    assert report.own_init == [f'blocks.{i}.attn.qkv.key' for i in range(3)]


def small_task(seed=0):
    """Images of a bright square in one of two places, and which it is."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(16, 3, 32, 32, generator=generator) * 0.3
    labels = torch.arange(16) % 2
    for image, label in zip(images, labels):
        image[:, 8:16, 16 * label : 16 * label + 8] += 1
    return images, labels


def train(backbone, steps):
    """Fit the small task; return the losses."""
    torch.manual_seed(0)
    head = nn.Linear(backbone.out_channels[-1], 2)
    parameters = [*backbone.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)
    images, labels = small_task()
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(head(backbone(images)[-1].mean((2, 3))), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def warm_swin(key_cfg):
    ours = manifold_swin(key_cfg=key_cfg, out_indices=(1,))
    load_checkpoint(ours, mm_swin('mmdet').state_dict(), strict=True)
    return ours


def warm_vit(key_cfg):
    ours = manifold_vit(key_cfg=key_cfg, pretrain_img_size=32)
    load_checkpoint(ours, timm_vit(img_size=32).state_dict(), strict=True)
    return ours


@pytest.mark.parametrize('warm', [warm_swin, warm_vit])
@pytest.mark.parametrize('key_cfg', EXACT, ids=key_name)
def test_charts_move_and_differ(warm, key_cfg):
    model = warm(key_cfg)
    keys = {n: m.key for n, m in model.named_modules() if isinstance(m, ManifoldQKV)}
    before = {n: p.clone() for n, p in model.named_parameters()}
    train(model, 3)
    # A softmax over keys takes no notice of what is added to all of them: the key's own bias.
    linear = 'act_cfg' in key_cfg or key_cfg['type'] == 'LinearK'
    ignored = ('base.bias', 'proj.bias', 'fc2.bias') + (('key.bias',) if linear else ())
    for name, parameter in model.named_parameters():
        if '.qkv.' in name and not name.endswith(ignored):
            assert not torch.equal(parameter, before[name]), name
    for key in keys.values():
        if hasattr(key, 'chart_map'):
            weight = key.chart_map()[0]
            charts = weight.view(key.num_charts, -1)
            distance = torch.cdist(charts, charts) + torch.eye(key.num_charts)
            assert distance.min() > 1e-5
            assert key.gamma.unique(dim=0).shape[0] == key.num_charts


@pytest.mark.parametrize('warm', [warm_swin, warm_vit])
def test_training_is_no_worse_than_the_stock_arm(warm):
    stock = train(warm(None), 50)
    assert stock[-1] < 0.5 * stock[0]
    for key_cfg in (*BASED[:4], *LINEAR[:2]):
        losses = train(warm(key_cfg), 50)
        assert losses[0] == pytest.approx(stock[0], abs=1e-4)
        assert losses[-1] < stock[-1] + 0.02, key_cfg


@pytest.mark.slow
@pytest.mark.parametrize('key_cfg', EXACT, ids=key_name)
def test_full_size_swin(key_cfg):
    peer = mm_swin('mmdet', SWIN_T, window_size=7)
    ours = manifold_swin(SWIN_T, window_size=7, key_cfg=key_cfg)
    load_checkpoint(ours, peer.state_dict(), strict=True)
    assert difference(ours, peer, torch.randn(1, 3, 203, 157)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize('key_cfg', EXACT, ids=key_name)
def test_full_size_vit(key_cfg):
    peer = timm_vit(VIT_S, img_size=224)
    ours = manifold_vit(VIT_S, pretrain_img_size=224, key_cfg=key_cfg)
    load_checkpoint(ours, peer.state_dict(), strict=True)
    x = torch.randn(1, 3, 208, 160)
    assert difference(ours, timm_vit_features(peer, x, VIT_S), x) < 1e-4
