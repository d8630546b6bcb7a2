"""DINOv3's own: rotations against timm's, of every key, in windows too, and its architectures."""

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import apply_rot_embed_cat

from mkbackbones.backbones import ManifoldDINOv3
from mkbackbones.backbones.dinov3 import DINOV3_ARCHS, RotaryPositions
from mkbackbones.backbones.windows import merge_windows
from mkbackbones.fused.exact import unit_departure

from .common import DINOV3, KEY_CFGS, key_name, tiny_dinov3

RotaryEmbeddingDinoV3 = getattr(timm.layers, 'RotaryEmbeddingDinoV3', None)
sides = st.integers(1, 40)
every_key = pytest.mark.parametrize('key_cfg', KEY_CFGS, ids=key_name)


def trained(model):
    """With charts that count, and scales as far apart as after training."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model.eval()


@settings(max_examples=25, deadline=None)
@given(rows=sides, columns=sides, head_dims=st.sampled_from([4, 16, 64]))
def test_rotations_are_timms(rows, columns, head_dims):
    ours = RotaryPositions(head_dims)((rows, columns), (rows, columns)).flatten(0, 1)
    wanted = RotaryEmbeddingDinoV3(head_dims).get_embed((rows, columns))
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(rows=sides, columns=sides, more=st.tuples(st.integers(0, 5), st.integers(0, 5)))
def test_places_go_on_beyond_the_picture(rows, columns, more):
    """What pads the windows changes nothing in the picture, and lies as far apart as patches do."""
    rope = RotaryPositions(16).double()
    size = rows + more[0], columns + more[1]
    table = rope((rows, columns), size)
    inside = rope((rows, columns), (rows, columns))
    torch.testing.assert_close(table[:rows, :columns], inside, rtol=0, atol=1e-12)
    # The angle of a step is the same everywhere: its sine and cosine by the theorem of addition.
    sin, cos = table.chunk(2, dim=-1)
    step = (sin[:, 1:] * cos[:, :-1] - cos[:, 1:] * sin[:, :-1])[0]
    if len(step):
        torch.testing.assert_close(step, step[:1].expand_as(step), rtol=0, atol=1e-9)


def explicit_attention(attention, x, rope, num_prefix):
    """Softmax over rotated queries and keys, from what ``qkv`` gives, step by step."""
    qkv = attention.qkv(x)
    if attention.q_bias is not None:
        zero = torch.zeros_like(attention.q_bias)
        qkv = qkv + torch.cat([attention.q_bias, zero, attention.v_bias])
    q, k, v = (t.unflatten(-1, (2, -1)).transpose(1, 2) for t in qkv.chunk(3, dim=-1))

    def rotate(tokens):
        patches = apply_rot_embed_cat(tokens[:, :, num_prefix:], rope, half=True)
        return torch.cat([tokens[:, :, :num_prefix], patches], dim=2)

    scores = rotate(q) @ rotate(k).transpose(-1, -2) * q.shape[-1] ** -0.5
    return attention.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


@every_key
@pytest.mark.parametrize('qkv_bias', [True, False])
def test_the_keys_that_charts_yield_are_rotated_and_prefix_tokens_are_not(key_cfg, qkv_bias):
    model = trained(tiny_dinov3(key_cfg=key_cfg, qkv_bias=qkv_bias))
    block, grid = model.blocks[1], (3, 5)
    rope = model.rope(grid, grid).flatten(0, 1)
    x = torch.randn(2, 5 + 15, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = block.attend(x, grid, 5, lambda tokens: block.attn(tokens, rope=rope))
        wanted = explicit_attention(block.attn, x, rope, 5)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@every_key
def test_a_window_has_its_place_in_the_whole_picture(key_cfg):
    """A window's patches and the prefix attend as alone, rotated as global attention rotates."""
    model = trained(tiny_dinov3(key_cfg=key_cfg, window_size=2, global_blocks=[]))
    block, grid = model.blocks[0], (4, 6)
    x = torch.randn(2, 5 + 24, 32, generator=torch.Generator().manual_seed(1))
    rotations = model.block_args(x, grid)[-1]
    assert rotations.whole is None
    rope = model.rope(grid, grid)
    with torch.no_grad():
        found = block.attend(x, grid, 5, lambda t: block.attn(t, rope=rotations.windows))
        found = found[:, 5:].unflatten(1, grid)
        prefix, patches = x[:, :5], x[:, 5:].unflatten(1, grid)
        for row in (0, 2):
            for column in (0, 2, 4):
                here = slice(None), slice(row, row + 2), slice(column, column + 2)
                tokens = torch.cat([prefix, patches[here].flatten(1, 2)], dim=1)
                place = rope[here[1:]].flatten(0, 1)
                wanted = explicit_attention(block.attn, tokens, place, 5)[:, 5:]
                torch.testing.assert_close(found[here].flatten(1, 2), wanted, rtol=0, atol=1e-5)


def test_rotations_of_windows_are_those_of_the_grid():
    model = tiny_dinov3(window_size=3, global_blocks=[3])
    grid = 5, 7
    rotations = model.block_args(torch.zeros(2, 5 + 35, 32), grid)[-1]
    for image in rotations.windows[:, 0].chunk(2):
        table = merge_windows(image, 3, (6, 9))[0, :5, :7].flatten(0, 1)
        torch.testing.assert_close(table, rotations.whole, rtol=0, atol=1e-6)


@every_key
@pytest.mark.parametrize('swiglu', [False, True])
def test_windowed_blocks_with_one_window_are_global(key_cfg, swiglu):
    arch = dict(DINOV3, swiglu=swiglu)
    everywhere = trained(tiny_dinov3(arch=arch, key_cfg=key_cfg))
    windowed = tiny_dinov3(arch=arch, key_cfg=key_cfg, window_size=4, global_blocks=[]).eval()
    windowed.load_state_dict(everywhere.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(everywhere(x), windowed(x), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_a_bias_of_the_whole_key_counts():
    """Rotated, it differs from place to place: softmax does not ignore it, as it does in a ViT."""
    model = tiny_dinov3(key_cfg=dict(type='VanillaK', num_charts=2, base=False, act_cfg=None))
    x = torch.randn(1, 3, 64, 64)
    before = model.eval()(x)[0]
    with torch.no_grad():
        model.blocks[0].attn.qkv.key.bias.add_(5.0)
    assert (model(x)[0] - before).abs().max() > 1e-3


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_another_type(dtype):
    """Rotations are worked out in float32 at least."""
    model = trained(tiny_dinov3(window_size=3, key_cfg=dict(type='SpatialK', num_charts=2)))
    x = torch.randn(1, 3, 72, 56)
    with torch.no_grad():
        wanted = model(x)
        for found, exact in zip(model.to(dtype)(x.to(dtype)), wanted, strict=True):
            assert found.dtype == dtype
            error = (found.float() - exact).norm() / exact.norm()
            assert error < (1e-5 if dtype == torch.float64 else 0.1)


def test_blocks_are_not_what_the_triton_kernels_were_written_for():
    assert 'DINOv3Block' in unit_departure(tiny_dinov3().blocks[0])


def test_attention_is_sdpa(monkeypatch):
    calls = []
    sdpa = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, 'scaled_dot_product_attention', lambda *a, **k: calls.append(1) or sdpa(*a, **k)
    )
    tiny_dinov3()(torch.randn(1, 3, 32, 32))
    assert len(calls) == 4


@pytest.mark.parametrize('name', DINOV3_ARCHS)
def test_architectures_are_timms(name):
    with torch.device('meta'):
        ours = ManifoldDINOv3(name).state_dict()
        peer = timm.create_model(f'vit_{name}_patch16_dinov3_qkvb', num_classes=0).state_dict()
    assert ours.pop('rope.periods').shape == (16,)
    assert {n: v.shape for n, v in ours.items()} == {n: v.shape for n, v in peer.items()}


def test_the_largest_is_an_explicit_arch():
    arch = dict(embed_dims=4096, depth=40, num_heads=32, swiglu=True)
    with torch.device('meta'):
        ours = ManifoldDINOv3(arch, mlp_ratio=2.0, qkv_bias=False).state_dict()
        peer = timm.create_model('vit_7b_patch16_dinov3', num_classes=0).state_dict()
    del ours['rope.periods']
    assert {n: v.shape for n, v in ours.items()} == {n: v.shape for n, v in peer.items()}
