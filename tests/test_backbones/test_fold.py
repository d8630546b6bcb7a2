"""Folding linear manifold keys into plain Linears."""

import pytest
import torch
from torch import nn

from mkbackbones import fold_manifold_keys
from mkbackbones.attention.inject import set_block_keys
from mkbackbones.attention.qkv import ManifoldQKV

from .common import tiny_dinov3, tiny_swin, tiny_swin_v2, tiny_vit

FOLDABLE = [
    dict(type='LinearK'),
    dict(type='LinearK', temperature=True),
    dict(type='VanillaK', act_cfg=None, num_charts=3),
    dict(type='VanillaK', act_cfg=None, num_charts=2, chart_channels=5, base=False),
    dict(type='SimpleK', act_cfg=None, num_charts=3),
    dict(type='MLPK', act_cfg=None, match=dict(type='KUA')),
]


@pytest.mark.parametrize('build', [tiny_swin, tiny_swin_v2, tiny_vit, tiny_dinov3])
@pytest.mark.parametrize('key_cfg', FOLDABLE, ids=lambda c: c['type'])
@pytest.mark.parametrize('qkv_bias', [True, False])
def test_folded_model_is_the_same_and_stock(build, key_cfg, qkv_bias):
    torch.manual_seed(0)
    model = build(key_cfg=key_cfg, qkv_bias=qkv_bias).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    x = torch.randn(1, 3, 50, 70)
    with torch.no_grad():
        before = model(x)
        assert fold_manifold_keys(model) == []
        after = model(x)
    for a, b in zip(before, after):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert not any(isinstance(m, ManifoldQKV) for m in model.modules())
    plain = (
        key_cfg['type'] == 'LinearK'
    )  # others bring a bias, which the key of V2 and of DINOv3 never has
    if plain or (qkv_bias and build not in (tiny_swin_v2, tiny_dinov3)):
        build(qkv_bias=qkv_bias).load_state_dict(model.state_dict(), strict=True)


def test_folding_names_what_stays():
    model = tiny_vit(key_cfg=[dict(type='LinearK', blocks=[0]), dict(type='KUA', blocks=[1])])
    assert fold_manifold_keys(model) == ['blocks.1.attn.qkv']
    assert isinstance(model.blocks[0].attn.qkv, nn.Linear)


def test_a_linear_that_is_no_qkv():
    attention = nn.Module()
    attention.qkv = nn.Linear(8, 16)
    with pytest.raises(ValueError, match='16 outputs'):
        set_block_keys([attention], [dict(type='LinearK')])
