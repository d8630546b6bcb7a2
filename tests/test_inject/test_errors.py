"""What cannot take a manifold key says why, and stays as it was."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from mkbackbones import apply_manifold_key, fold_manifold_keys
from mkbackbones.attention.inject import manifold_layers
from mkbackbones.attention.qkv import ManifoldQKV

from .trees import build

KEY = dict(type='VanillaK', num_charts=2)


def attention(**attributes):
    module = nn.Module()
    module.qkv = attributes.pop('qkv', nn.Linear(8, 24))
    for name, value in attributes.items():
        setattr(module, name, value)
    return nn.Sequential(module)


def hooked(module):
    module.register_forward_hook(lambda *args: None)
    return module


class Adapted(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


def mixed(*others):
    return nn.Sequential(*attention(), *others)


@pytest.mark.parametrize(
    ('model', 'words'),
    [
        (
            nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()),
            ["nn.Linear called 'qkv'", 'nn.MultiheadAttention', '1 Conv2d, 1 ReLU'],
        ),
        (attention(qkv=nn.Conv2d(8, 24, 1)), ["'0.qkv'", 'Conv2d']),
        (attention(qkv=nn.Linear(8, 16)), ["Module '0'", '8 to 16 channels', 'blocks=[...]']),
        (attention(head_first=True), ['by head']),
        (attention(q_bias=nn.Parameter(torch.zeros(8))), ['query and value bias']),
        (nn.Sequential(nn.MultiheadAttention(8, 2, kdim=4)), ['other sizes than the query']),
        (nn.Sequential(nn.MultiheadAttention(8, 2, add_bias_kv=True)), ['a key of its own']),
        (attention(qkv=hooked(nn.Linear(8, 24))), ['its qkv has hooks', 'lost']),
        (attention(qkv=Adapted(8, 24)), ['of class Adapted', 'more than its weight and bias']),
        (attention(qkv=weight_norm(nn.Linear(8, 24))), ['its qkv is parametrised', 'lost']),
        (nn.Sequential(hooked(nn.MultiheadAttention(8, 2))), ['it has hooks', 'lost']),
        (nn.TransformerEncoderLayer(8, 2), ["'self_attn'", 'without calling it']),
    ],
)
def test_models_that_cannot(model, words):
    names = dict(model.named_modules()).keys()
    with pytest.raises(ValueError) as error:
        apply_manifold_key(model, KEY)
    for word in words:
        assert word in str(error.value)
    assert '\n' not in str(error.value)
    assert dict(model.named_modules()).keys() == names


def test_blocks_that_cannot_may_be_left_out():
    model = mixed(*attention(qkv=nn.Linear(8, 16)))
    apply_manifold_key(model, dict(**KEY, blocks=[0]))
    assert manifold_layers(model) == ['0.qkv']


@pytest.mark.parametrize(
    ('tree', 'key_cfg', 'words'),
    [
        ('timm-vit', dict(**KEY, stages=[0]), ['key_cfg.stages=[0]', "'blocks.0.attn'", 'blocks']),
        ('timm-vit', dict(**KEY, blocks=[4]), ['key_cfg.blocks holds 4']),
        ('mmdet-swin', dict(**KEY, stages=[2]), ['key_cfg.stages holds 2', '0 to 1']),
        ('mmdet-swin', [KEY, dict(**KEY, blocks=[1])], ['block 1 twice']),
        ('timm-vit', dict(type='VanilaK'), ["did you mean 'VanillaK'"]),
        ('timm-vit', dict(type='SimpleK', num_chart=3), ["did you mean 'num_charts'"]),
        ('timm-vit', [dict(**KEY, blocks=[0]), dict(type='SimpleK', chart_channels=5, blocks=[1])],
         ['chart_channels=5']),
    ],
)  # fmt: skip
def test_keys_that_do_not_fit(tree, key_cfg, words):
    model = build(tree)
    with pytest.raises(ValueError) as error:
        apply_manifold_key(model, key_cfg)
    for word in words:
        assert word in str(error.value)
    assert manifold_layers(model) == []


def test_a_stage_without_attention():
    model = nn.Module()
    model.stages = nn.ModuleList(
        [nn.ModuleList([nn.ReLU()]), nn.ModuleList([*attention(), *attention()])]
    )
    with pytest.raises(ValueError, match=r'names stage 0, which has no attention.*\[1\]'):
        apply_manifold_key(model, dict(**KEY, stages=[0]))
    apply_manifold_key(model, dict(**KEY, stages=[1]))
    assert len(manifold_layers(model)) == 2


@pytest.mark.parametrize('tree', ['timm-vit', 'mmseg-vit'])
def test_a_second_time_is_an_error(tree):
    model = apply_manifold_key(build(tree), dict(**KEY, blocks=[0]))
    for key_cfg in (KEY, dict(**KEY, blocks=[1]), None):
        with pytest.raises(ValueError, match=r'keys already \(the first is .*0.attn.*one key_cfg'):
            apply_manifold_key(model, key_cfg)


def test_after_folding_it_can_be_applied_again():
    model = apply_manifold_key(build('mmseg-vit'), dict(type='LinearK'))
    fold_manifold_keys(model)
    assert len(manifold_layers(apply_manifold_key(model, KEY))) == 4


def test_a_single_layer_cannot_be_folded_in_place():
    with pytest.raises(ValueError, match='to_linear'):
        fold_manifold_keys(ManifoldQKV(8, dict(type='LinearK')))


def test_a_key_with_an_adapter_is_not_folded():
    """Its weight alone would leave out what the adapter adds."""
    layer = ManifoldQKV(8, dict(type='VanillaK', num_charts=2, act_cfg=None))
    assert layer.to_linear() is not None
    layer.key.base = Adapted(8, 8)
    model = nn.Sequential(layer)
    assert fold_manifold_keys(model) == ['0']
    assert model[0] is layer
