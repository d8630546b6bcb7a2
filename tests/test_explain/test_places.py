"""Tokens are found where they lie, and one query's logits are those of the layer."""

import pytest
import torch
from torch import nn

from mkbackbones import ManifoldDINOv3, ManifoldSwin, ManifoldSwinV2, ManifoldViT
from mkbackbones.attention.inject import apply_manifold_key
from mkbackbones.attention.weights import AttentionWeights
from mkbackbones.explain.logits import logits_with
from mkbackbones.explain.look import choose, look_at, measure
from mkbackbones.explain.parts import split_key
from mkbackbones.explain.places import find_places, stride_of
from mkbackbones.explain.watch import watch_pass
from mkbackbones.keys.measures import gamma_spread, pairwise_distances

from ..test_inject.trees import build, disturb_keys

KEY = dict(type='KUA', num_charts=3)
SWIN = dict(embed_dims=8, depths=(2, 2), num_heads=(1, 2))
PLAIN = dict(embed_dims=16, depth=2, num_heads=2)
OURS = {
    'swin': lambda key: ManifoldSwin(SWIN, key, out_indices=(0, 1), window_size=4),
    'swin_v2': lambda key: ManifoldSwinV2(SWIN, key, out_indices=(0, 1), window_size=4),
    'vit': lambda key: ManifoldViT(PLAIN, key, patch_size=8, num_register_tokens=2),
    'vit_windows': lambda key: ManifoldViT(
        PLAIN, key, patch_size=8, window_size=3, global_blocks=[1]
    ),
    'dinov3': lambda key: ManifoldDINOv3(
        dict(PLAIN, swiglu=False), key, patch_size=8, window_size=3, global_blocks=[1]
    ),
}
INJECTED = [
    'timm-vit', 'timm-vit-registers', 'timm-swin', 'timm-swin-v2', 'timm-beit', 'timm-eva',
    'timm-dinov3', 'timm-sam', 'mmdet-swin', 'mmseg-vit',
]  # fmt: skip


def model_of(name, key=KEY):
    torch.manual_seed(0)
    if name in OURS:
        model = OURS[name](key)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
    else:
        if name.startswith('mm'):
            pytest.importorskip(name.partition('-')[0])
        model = apply_manifold_key(build(name), key)
    disturb_keys(model)
    model.eval()  # mmdet's Swin does not return itself
    return model


def watched(model, size, seed=0):
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(seed))
    return watch_pass(model, images), images


def normed(model, images, seen):
    """What each block attends to, on the grid: its first norm's output, else its input."""
    found, hooks = {}, []
    for one in seen:
        norm = next((m for n, m in one.block.named_children() if n in ('norm1', 'ln1')), None)
        norms_last = type(one.block).__name__.startswith(('SwinV2', 'SwinTransformerV2'))
        if norms_last or norm is None:

            def keep(module, args, name=one.name):
                found[name] = args[0]

            hooks.append(one.block.register_forward_pre_hook(keep))
        else:

            def keep_output(module, args, out, name=one.name):
                found[name] = out

            hooks.append(norm.register_forward_hook(keep_output))
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return {name: out.flatten(1, -2)[0] for name, out in found.items()}


def size_of(name):
    return (64, 64) if name not in OURS and name != 'mmdet-swin' else (61, 85)


@pytest.mark.parametrize('name', [*OURS, *INJECTED])
def test_tokens_are_found_where_they_lie(name):
    model = model_of(name)
    size = size_of(name)
    seen, images = watched(model, size)
    assert len(seen) >= 2
    reference = normed(model, images, seen)
    first = find_places(seen[0], size)
    for one in seen:
        places = find_places(one, size, first)
        tokens = reference[one.name]
        rows, columns = places.grid
        patches = tokens[len(tokens) - rows * columns :]
        there = places.index >= 0
        assert torch.equal(one.tokens[there], patches[places.index[there]])
        prefix = (places.index == -1).sum(1)
        assert (prefix == len(tokens) - rows * columns).all()
        assert not one.tokens[places.index == -2].any() or name.startswith('timm-swin')
        assert rows == -(-size[0] // places.stride) and columns == -(-size[1] // places.stride)
    strides = [find_places(one, size, first).stride for one in seen]
    expected = [4, 4, 8, 8] if 'swin' in name else [8 if name in OURS else 16] * len(seen)
    assert strides == expected


@pytest.mark.parametrize(
    'name', [*OURS, 'timm-vit', 'timm-swin', 'timm-sam', 'mmdet-swin', 'mmseg-vit']
)
def test_logits_of_a_query_are_those_of_the_whole_attention(name):
    model = model_of(name)
    seen, _ = watched(model, size_of(name))
    for one in seen:
        with torch.no_grad():
            keys = one.layer.key(one.tokens, one.grid, one.num_prefix_tokens)
            with AttentionWeights() as weights:
                args, kwargs = one.attention_call
                one.attention(*args, **kwargs)
        whole = weights.found[0].flatten(0, -3).unflatten(0, (len(one.tokens), -1))
        for window, token in ((0, 0), (len(one.tokens) - 1, one.tokens.shape[1] - 1)):
            found = logits_with(one, keys, window, token).softmax(-1)
            torch.testing.assert_close(found, whole[window, :, token], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['swin', 'vit', 'mmdet-swin'])
@pytest.mark.parametrize('kind', ['KUA', 'SimpleK', 'SpatialK', 'VanillaK'])
def test_without_charts_is_the_layer_with_its_output_scale_at_zero(name, kind):
    model = model_of(name, dict(type=kind, num_charts=2))
    size = size_of(name)
    seen, _ = watched(model, size)
    one = seen[-1]
    places = find_places(one, size, find_places(seen[0], size))
    look = look_at(one, places, measure(one), (50.0, 30.0))
    window, token = places.of(*look.cell)
    one.layer.key.out_scale.data.zero_()
    with torch.no_grad(), AttentionWeights() as weights:
        args, kwargs = one.attention_call
        one.attention(*args, **kwargs)
    whole = weights.found[0].flatten(0, 1).unflatten(0, (len(one.tokens), -1))
    expected = whole[window, :, token].mean(0)
    index = places.index[window]
    for j, cell in enumerate(index.tolist()):
        value = look.attention_without[divmod(cell, places.grid[1])] if cell >= 0 else None
        if value is not None and value == value:
            assert abs(value - float(expected[j])) < 1e-5
    assert look.divergence > 1e-6
    assert look.add_up
    if look.elsewhere < 1e-6:
        assert abs(float(torch.tensor(look.attention).nansum()) - 1) < 1e-4


@pytest.mark.parametrize('kind', ['KUA', 'SimpleK', 'SpatialK', 'VanillaK'])
@pytest.mark.parametrize('base', [True, False])
def test_parts_add_up_to_the_key(kind, base):
    model = model_of('swin', dict(type=kind, num_charts=3, base=base))
    one = watched(model, (61, 85))[0][1]
    parts = split_key(one.layer.key, one.tokens, one.grid, 0)
    with torch.no_grad():
        whole = one.layer.key(one.tokens, one.grid, 0)
        total = parts.charts.sum(0) + (parts.base if base else 0)
    constant = whole - total  # VanillaK's bias: the same for all tokens
    assert parts.add_up and (parts.base is not None) == base
    assert (constant - constant[:1, :1]).abs().max() < 1e-4
    assert kind == 'VanillaK' or constant.abs().max() < 1e-4


def test_logits_of_the_charts_add_up_to_those_of_all(name='vit'):
    model = model_of(name, dict(type='KUA', num_charts=4))
    one = watched(model, (61, 85))[0][0]
    places = find_places(one, (61, 85))
    look = look_at(one, places, measure(one), (3.0, 3.0))
    window, token = places.of(*look.cell)
    with torch.no_grad():
        key = one.layer.key
        keys = [key(one.tokens), key.base(one.tokens)]
        own, plain = (logits_with(one, each, window, token) for each in keys)
    change = own - plain
    change = (change - change.mean(-1, keepdim=True)).mean(0)
    found = torch.tensor(look.chart_maps.sum(0)).flatten()
    torch.testing.assert_close(found, change[places.index[window] >= 0], rtol=1e-3, atol=1e-3)


def test_memberships_are_those_of_the_tokens():
    model = model_of('swin')
    size = (61, 85)
    seen, images = watched(model, size)
    one = seen[1]
    places = find_places(one, size, find_places(seen[0], size))
    look = look_at(one, places, measure(one), (0.0, 0.0))
    tokens = normed(model, images, seen)[one.name]
    expected = one.layer.key.membership(tokens).T.unflatten(1, places.grid)
    torch.testing.assert_close(torch.tensor(look.membership), expected.detach())


def test_a_key_that_does_not_add_charts_up_says_so():
    from mkbackbones.keys import ManifoldKey

    class MedianK(ManifoldKey):
        def aggregate(self, z, x):
            return z.median(-2).values

    torch.manual_seed(0)
    parts = split_key(MedianK(8, num_charts=3, base=False), torch.randn(1, 5, 8), None, 0)
    assert not parts.add_up and parts.charts.shape == (3, 1, 5, 8)


def test_the_last_of_each_stage_or_four_of_one():
    assert choose(['layers.0.blocks.0', 'layers.0.blocks.1', 'layers.1.blocks.0']) == [1, 2]
    assert choose([f'blocks.{i}' for i in range(12)]) == [2, 5, 8, 11]
    assert choose(['blocks.0', 'blocks.1']) == [0, 1]


def test_strides_of_grids_that_were_rounded_up():
    assert stride_of((17, 18), (65, 70), None) == 4
    assert stride_of((3, 3), (65, 70), 4) == 32
    assert stride_of((5, 7), (65, 98), 14) == 14


def test_distances_of_charts():
    a = torch.tensor([[1.0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 0]])
    found = pairwise_distances(a)
    expected = [0, 0, 2, 2**0.5, 2**0.5]
    torch.testing.assert_close(found[0], torch.tensor(expected, dtype=torch.float64))
    assert torch.equal(found, found.T)
    assert gamma_spread(torch.full((4, 3), 2.0)) == 0 and gamma_spread(torch.ones(1, 3)) == 0


def test_the_layer_is_as_it_was(name='swin'):
    model = model_of(name)
    seen, images = watched(model, (61, 85))
    before = model(images)
    one = seen[0]
    places = find_places(one, (61, 85))
    look_at(one, places, measure(one), (0.0, 0.0))
    assert all(torch.equal(a, b) for a, b in zip(before, model(images)))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert 'aggregate' not in vars(one.layer.key)
