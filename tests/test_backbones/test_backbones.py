"""What all backbones promise: shapes at any size, gradients, freezing, AMP, warm start."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mkbackbones.attention.qkv import ManifoldQKV
from mkbackbones.compat.blocks import why_no_dinov3

from ..lacking import need_half_precision
from .common import (
    DINOV3,
    KEY_CFGS,
    VARIANTS,
    key_name,
    tiny_dinov3,
    tiny_swin,
    tiny_swin_v2,
    tiny_vit,
)

BUILDERS = {
    'swin': tiny_swin,
    'swin-v2': tiny_swin_v2,
    'vit': tiny_vit,
    'vit-windowed': lambda **args: tiny_vit(window_size=3, global_blocks=[3], **args),
    'vit-registers': lambda **args: tiny_vit(num_register_tokens=2, init_values=0.1, **args),
    'vit-windowed-registers': lambda **args: tiny_vit(
        num_register_tokens=2, window_size=3, global_blocks=[], **args
    ),
    'dinov3': tiny_dinov3,
    'dinov3-windowed-swiglu': lambda **args: tiny_dinov3(
        arch=dict(DINOV3, swiglu=True), window_size=3, global_blocks=[3], **args
    ),
}


def can_build(name):
    return 'dinov3' not in name or not why_no_dinov3()


every_backbone = pytest.mark.parametrize('name', BUILDERS)
every_key = pytest.mark.parametrize('key_cfg', KEY_CFGS, ids=key_name)


def strides(name):
    return (4, 8) if name.startswith('swin') else (16, 16)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from([name for name in BUILDERS if can_build(name)]),
    key_cfg=st.sampled_from(KEY_CFGS),
    batch=st.integers(1, 2),
    height=st.integers(1, 100),
    width=st.integers(1, 100),
)
def test_any_size(name, key_cfg, batch, height, width):
    model = BUILDERS[name](key_cfg=key_cfg).eval()
    with torch.no_grad():
        outs = model(torch.randn(batch, 3, height, width))
    assert isinstance(outs, tuple)
    for out, stride, channels in zip(outs, strides(name), model.out_channels, strict=True):
        assert out.shape == (batch, channels, math.ceil(height / stride), math.ceil(width / stride))
        assert out.is_contiguous() and out.isfinite().all()


@every_backbone
@every_key
def test_gradients_reach_every_parameter(name, key_cfg):
    """Two steps: where an output scale starts at zero, the charts move from the second on."""
    torch.manual_seed(0)
    model = BUILDERS[name](key_cfg=key_cfg)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(2, 3, 70, 50)
    for _ in range(2):
        optimizer.zero_grad()
        sum((out * torch.randn_like(out)).sum() for out in model(x)).backward()
        optimizer.step()
    # A bias of the whole key shifts all scores of a query alike: softmax ignores it.
    cancels: tuple[str, ...] = ('key.base.bias', 'key.proj.bias', 'key.fc2.bias')
    if name == 'swin-v2':  # normalises keys, whatever their scale
        cancels += ('key.temperature',)
    for parameter_name, p in model.named_parameters():
        assert p.grad is not None, parameter_name
        assert p.grad.any() or parameter_name.endswith(cancels), parameter_name


@every_backbone
@pytest.mark.parametrize('variant', VARIANTS)
def test_manifold_key_starts_as_the_stock_key(name, variant):
    """Same seed: the shared weights are equal, the outputs too, and so are later random numbers."""
    torch.manual_seed(0)
    stock = BUILDERS[name]()
    after_stock = torch.rand(3)
    torch.manual_seed(0)
    manifold = BUILDERS[name](key_cfg=dict(type=variant, num_charts=3))
    assert torch.equal(torch.rand(3), after_stock)
    x = torch.randn(1, 3, 75, 61)
    for a, b in zip(stock(x), manifold(x)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@every_backbone
def test_stock_state_dict_loads_strictly(name):
    torch.manual_seed(0)
    stock = BUILDERS[name]()
    for key_cfg in KEY_CFGS[1:]:
        manifold = BUILDERS[name](key_cfg=key_cfg)
        manifold.load_state_dict(stock.state_dict(), strict=True)
        x = torch.randn(1, 3, 40, 40)
        for a, b in zip(stock(x), manifold(x)):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@every_backbone
def test_own_state_dict_loads_strictly(name):
    for key_cfg in KEY_CFGS:
        first, second = (BUILDERS[name](key_cfg=key_cfg) for _ in range(2))
        for p in first.parameters():
            torch.nn.init.normal_(p, std=0.2)
        second.load_state_dict(first.state_dict(), strict=True)
        x = torch.randn(1, 3, 40, 40)
        for a, b in zip(first(x), second(x)):
            assert torch.equal(a, b)


@every_backbone
@pytest.mark.parametrize('variant', ['KUA', 'SpatialK'])
def test_with_cp_gives_the_same_gradients(name, variant):
    """Also when another size runs between forward and backward."""
    key_cfg = dict(type=variant, num_charts=2)
    torch.manual_seed(0)
    plain = BUILDERS[name](key_cfg=key_cfg, drop_path_rate=0.3)
    saving = BUILDERS[name](key_cfg=key_cfg, drop_path_rate=0.3, with_cp=True)
    for p in plain.parameters():
        torch.nn.init.normal_(p, std=0.1)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 50, 66)
    for model in (plain, saving):
        torch.manual_seed(1)
        loss = sum(out.square().mean() for out in model(x))
        model(torch.randn(2, 3, 34, 90))
        loss.backward()
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@every_backbone
@pytest.mark.parametrize('frozen_stages', [0, 1, 2])
def test_frozen_stages_get_no_gradient_and_stay_in_eval(name, frozen_stages):
    model = BUILDERS[name](frozen_stages=frozen_stages, drop_path_rate=0.5)
    assert model.train() is model and model.eval() is model
    model.train()
    frozen = model.frozen_modules()
    blocks = model.layers if name.startswith('swin') else model.blocks
    assert model.patch_embed in frozen
    for i, block in enumerate(blocks):
        assert (block in frozen) == (i < frozen_stages)
    frozen_ids = {id(p) for m in frozen for p in m.parameters()}
    frozen_ids |= {id(p) for p in model.frozen_parameters()}
    assert not any(m.training for module in frozen for m in module.modules())
    if all(not p.requires_grad for p in model.parameters()):
        return
    sum(out.sum() for out in model(torch.randn(1, 3, 32, 32))).backward()
    for p in model.parameters():
        assert (p.grad is None) == (id(p) in frozen_ids)


@every_backbone
def test_norm_eval(name):
    for norm_eval in (True, False):
        model = BUILDERS[name](norm_eval=norm_eval).train()
        norms = [m for m in model.modules() if isinstance(m, torch.nn.LayerNorm)]
        assert norms and all(m.training != norm_eval for m in norms)


@every_backbone
@every_key
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_amp(name, key_cfg, dtype):
    need_half_precision(dtype)
    torch.manual_seed(0)
    model = BUILDERS[name](key_cfg=key_cfg)
    x = torch.randn(1, 3, 45, 33)
    wanted = model(x)
    with torch.autocast('cpu', dtype=dtype):
        outs = model(x)
        loss = sum(out.float().square().mean() for out in outs)
    loss.backward()
    for a, b in zip(outs, wanted):
        torch.testing.assert_close(a.float(), b, rtol=0.05, atol=0.1)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_keys_sit_where_key_cfg_says():
    model = tiny_vit(key_cfg=[dict(type='KUA', blocks=[0]), dict(type='SimpleK', blocks=[-1])])
    kinds = [
        type(b.attn.qkv.key).__name__ if isinstance(b.attn.qkv, ManifoldQKV) else None
        for b in model.blocks
    ]
    assert kinds == ['KUA', None, None, 'SimpleK']
    model = tiny_swin(key_cfg=dict(type='SpatialK', stages=[1]))
    assert [isinstance(b.attn.qkv, ManifoldQKV) for s in model.layers for b in s.blocks] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ('build', 'args', 'words'),
    [
        (tiny_swin, dict(arch='tiney'), ["'tiney' is unknown", "did you mean 'tiny'"]),
        (tiny_swin, dict(arch=dict(embed_dims=16)), ['depths', 'num_heads']),
        (
            tiny_swin,
            dict(arch=dict(embed_dims=16, depths=(1, 1), num_heads=(3, 4))),
            ['num_heads=3', 'stage 0'],
        ),
        (tiny_swin, dict(out_indices=(0, 2)), ['out_indices holds 2', '0 to 1']),
        (tiny_swin, dict(out_indices=(1, 0)), ['not in order']),
        (tiny_swin, dict(frozen_stages=3), ['frozen_stages=3', '-1']),
        (tiny_swin, dict(drop_path_rate=1.0), ['drop_path_rate=1.0']),
        (tiny_swin, dict(window_size=0), ['window_size=0']),
        (tiny_swin, dict(key_cfg=dict(type='KUA', blocks=[4])), ['key_cfg.blocks holds 4']),
        (tiny_swin, dict(key_cfg=dict(type='KUB')), ["'KUB' is unknown", "did you mean 'KUA'"]),
        (tiny_swin_v2, dict(pretrained_window_sizes=(4,)), ['(4,) has 1 entries', '2 stages']),
        (tiny_swin_v2, dict(pretrained_window_size=4), ["did you mean 'pretrained_window_sizes'"]),
        (tiny_vit, dict(arch=dict(embed_dims=30, depth=2, num_heads=4)), ['num_heads=4']),
        (tiny_vit, dict(global_blocks=[0]), ['window_size']),
        (tiny_vit, dict(window_size=-1), ['window_size=-1']),
        (tiny_vit, dict(window_size=4, global_blocks=[9]), ['global_blocks holds 9']),
        (tiny_vit, dict(pretrain_img_size=8), ['pretrain_img_size=8']),
        (tiny_dinov3, dict(arch=dict(DINOV3, num_heads=16)), ['num_heads=16', 'multiple of 4']),
        (tiny_dinov3, dict(arch=dict(DINOV3, num_heads=3)), ['num_heads=3 does not divide']),
        (tiny_dinov3, dict(arch=dict(DINOV3, swiglu=1)), ['arch.swiglu=1', 'True or False']),
        (tiny_dinov3, dict(arch='small+'), ["did you mean 'small'"]),
        (tiny_dinov3, dict(pretrain_img_size=64), ['has no argument pretrain_img_size']),
        (tiny_dinov3, dict(init_values=None), ['init_values=None']),
    ],
)
def test_wrong_input_is_one_clear_sentence(build, args, words):
    with pytest.raises(ValueError) as error:
        build(**args)
    assert '\n' not in str(error.value)
    for word in words:
        assert word in str(error.value)


@every_backbone
def test_input_that_is_no_image(name):
    with pytest.raises(ValueError, match='1 channels of 32x32'):
        BUILDERS[name]()(torch.randn(1, 1, 32, 32))


@every_backbone
def test_unused_stages_are_not_built(name):
    model = BUILDERS[name](out_indices=(0,))
    blocks = model.layers if name.startswith('swin') else model.blocks
    assert len(blocks) == 1
    sum(out.sum() for out in model(torch.randn(1, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in model.parameters())
