"""DINOv3: checkpoints of timm, the official code and transformers, here, back and folded."""

import re

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from mkbackbones import fold_manifold_keys
from mkbackbones.checkpoints import CheckpointError, load_checkpoint, read_weights, to_naming
from mkbackbones.checkpoints.fold import fold_checkpoint

from .peers import (
    DINOV3,
    VIT,
    difference,
    manifold_dinov3,
    manifold_swin,
    manifold_vit,
    randomise,
    timm_dinov3,
    timm_vit,
    timm_vit_features,
)
from .test_parity import image

GATED = dict(DINOV3, swiglu=True)
SIZES = [(64, 64), (48, 112), (61, 37)]
every_arch = pytest.mark.parametrize('arch', [DINOV3, GATED], ids=['mlp', 'swiglu'])


def features(peer, x):
    """timm crops the patch grid of padded images: give it whole patches."""
    x = F.pad(x, (0, -x.shape[3] % 16, 0, -x.shape[2] % 16))
    return timm_vit_features(peer, x)


def tokens(peer, x):
    """timm's normalised tokens as a map, without class and register tokens."""
    grid = x.shape[2] // 16, x.shape[3] // 16
    with torch.no_grad():
        return peer.forward_features(x)[:, 5:].transpose(1, 2).unflatten(2, grid)


@every_arch
@pytest.mark.parametrize('qkv_bias', [True, False])
@pytest.mark.parametrize('size', SIZES)
def test_timm_at_any_size(arch, qkv_bias, size):
    peer = timm_dinov3(arch, qkv_bias=qkv_bias)
    ours = manifold_dinov3(arch, qkv_bias=qkv_bias)
    report = load_checkpoint(ours, peer.state_dict(), strict=True)
    assert 'timm dinov3' in report.naming and report.names('filled') == ['rope.periods']
    x = image(size)
    assert difference(ours, features(peer, x), x) < 1e-4
    if size != (61, 37):
        assert (ours(x)[1] - tokens(peer, x)).abs().max() < 1e-4


@every_arch
@pytest.mark.parametrize('key', ['VanillaK', 'SimpleK', 'KUA', 'SpatialK', 'LinearK'])
def test_every_key_starts_from_a_file(arch, key, tmp_path):
    peer = timm_dinov3(arch, qkv_bias=True, num_classes=7)
    torch.save(peer.state_dict(), tmp_path / 'dinov3.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'dinov3.pth'))
    ours = manifold_dinov3(arch, key_cfg=dict(type=key), init_cfg=init_cfg)
    ours.init_weights()
    for size in SIZES:
        x = image(size)
        assert difference(ours, features(peer, x), x) < 1e-4


def test_biases_that_are_zero_need_no_place():
    peer = timm_dinov3(qkv_bias=True)
    ours = manifold_dinov3(qkv_bias=False)
    report = load_checkpoint(ours, peer.state_dict())
    assert [e.name for e in report.problems] == sorted(
        f'blocks.{i}.attn.{side}_bias' for i in range(3) for side in 'qv'
    )
    assert 'set qkv_bias as in the checkpoint' in str(report)
    state = peer.state_dict()
    for name in state:
        if name.endswith('_bias'):
            state[name].zero_()
    assert len(load_checkpoint(ours, state, strict=True).dropped) == 6
    with_biases = manifold_dinov3()
    report = load_checkpoint(with_biases, timm_dinov3().state_dict(), strict=True)
    assert sum(name.endswith('_bias') for name in report.names('filled')) == 6
    x = image((64, 64))
    assert difference(with_biases, features(timm_dinov3(), x), x) < 1e-4


def official_names(state, periods):
    """Weights of a timm DINOv3 as the official code writes them, with all that it stores."""
    official = {
        'mask_token': torch.zeros(1, state['cls_token'].shape[-1]),
        'rope_embed.periods': periods,
        'local_cls_norm.weight': torch.ones(state['cls_token'].shape[-1]),
    }
    gated = any('fc1_g' in name for name in state)
    names = [(r'reg_token', 'storage_tokens'), (r'gamma_(\d)', r'ls\1.gamma')]
    if gated:
        names += [('mlp.fc1_g', 'mlp.w1'), ('mlp.fc1_x', 'mlp.w2'), ('mlp.fc2', 'mlp.w3')]
    for name, value in state.items():
        if name.endswith('q_bias'):
            attention = name.removesuffix('q_bias')
            # The key's part is whatever it was: the mask takes it away.
            bias = [value, torch.ones_like(value), state[f'{attention}v_bias']]
            mask = [torch.ones_like(value), torch.zeros_like(value), torch.ones_like(value)]
            official[f'{attention}qkv.bias'] = torch.cat(bias)
            official[f'{attention}qkv.bias_mask'] = torch.cat(mask)
        elif not name.endswith('v_bias'):
            for ours, theirs in names:
                name = re.sub(ours, theirs, name)
            official[name] = value
    return official


@every_arch
@pytest.mark.parametrize('qkv_bias', [True, False])
@pytest.mark.parametrize('prefix', ['', 'teacher.backbone.'])
def test_official_files(arch, qkv_bias, prefix):
    peer = timm_dinov3(arch, qkv_bias=qkv_bias)
    state = official_names(peer.state_dict(), peer.rope.periods)
    state = {prefix + name: value for name, value in state.items()}
    ours = manifold_dinov3(arch, qkv_bias=qkv_bias)
    report = load_checkpoint(ours, state, strict=True)
    assert 'official dinov3' in report.naming
    assert report.dropped == ['mask_token', 'local_cls_norm.weight']
    x = image((48, 112))
    assert difference(ours, features(peer, x), x) < 1e-4


def test_the_periods_of_an_official_file_are_taken():
    """They are rounded to bfloat16 there: with them it is the official network, which timm's is
    but for this."""
    peer = timm_dinov3(qkv_bias=True)
    rounded = peer.rope.periods.bfloat16()
    state = official_names(peer.state_dict(), rounded)
    ours = manifold_dinov3()
    load_checkpoint(ours, state, strict=True)
    assert torch.equal(ours.rope.periods, rounded.float())
    peer.rope.periods.copy_(rounded)
    x = image((64, 64))
    assert difference(ours, features(peer, x), x) < 1e-4
    assert torch.equal(to_naming(ours.state_dict(), 'official')['rope_embed.periods'], rounded)


def transformers_names(state, layers='layer.'):
    """Weights of a timm DINOv3 as transformers writes them."""
    gated = any('fc1_g' in name for name in state)
    mlp = dict(fc1_g='gate_proj', fc1_x='up_proj', fc2='down_proj', fc1='up_proj')
    renamed = {'embeddings.mask_token': torch.zeros(1, 1, state['cls_token'].shape[-1])}
    for name, value in state.items():
        parts = {name: value}
        if '.qkv.' in name:
            parts = {name.replace('qkv', f'{s}_proj'): v for s, v in zip('qkv', value.chunk(3))}
        for ours, part in parts.items():
            for a, b in (
                (r'^cls_token', 'embeddings.cls_token'),
                (r'^reg_token', 'embeddings.register_tokens'),
                (r'^patch_embed\.proj', 'embeddings.patch_embeddings'),
                (r'attn\.([qv])_bias', r'attn.\1_proj.bias'),
                (r'attn\.proj', 'attn.o_proj'),
                (r'^blocks\.(\d+)\.attn', r'blocks.\1.attention'),
                (r'gamma_(\d)', r'layer_scale\1.lambda1'),
                (r'mlp\.(\w+)', lambda m: f'mlp.{mlp[m[1]]}'),
                (r'^blocks\.', layers),
            ):
                ours = re.sub(a, b, ours)
            renamed[ours] = part
    assert gated == any('gate_proj' in name for name in renamed)
    return renamed


@every_arch
@pytest.mark.parametrize('qkv_bias', [True, False])
@pytest.mark.parametrize('layers', ['layer.', 'model.layer.'])
def test_transformers_files(arch, qkv_bias, layers):
    peer = timm_dinov3(arch, qkv_bias=qkv_bias)
    ours = manifold_dinov3(arch, qkv_bias=qkv_bias)
    report = load_checkpoint(ours, transformers_names(peer.state_dict(), layers), strict=True)
    assert 'transformers dinov3' in report.naming
    x = image((48, 112))
    assert difference(ours, features(peer, x), x) < 1e-4


@every_arch
@pytest.mark.parametrize('qkv_bias', [True, False])
@pytest.mark.parametrize('naming', ['timm', 'official'])
def test_round_trip(arch, qkv_bias, naming):
    state = randomise(manifold_dinov3(arch, qkv_bias=qkv_bias, out_indices=2)).state_dict()
    written = to_naming(state, naming)
    back = read_weights(written).state
    assert state.keys() - back.keys() == ({'rope.periods'} if naming == 'timm' else set())
    assert all(torch.equal(state[name], value) for name, value in back.items())
    if naming == 'timm':
        peer = timm_dinov3(arch, qkv_bias=qkv_bias)
        peer.load_state_dict(written, strict=True)
        return
    wanted = official_names(to_naming(state, 'timm'), state['rope.periods'])
    del wanted['local_cls_norm.weight']
    assert {n: v.shape for n, v in written.items()} == {n: v.shape for n, v in wanted.items()}
    assert all(torch.equal(written[n], v) for n, v in wanted.items() if not n.endswith('qkv.bias'))


def test_official_files_need_the_heads():
    with pytest.raises(CheckpointError, match='does not tell it; load it into a ManifoldDINOv3'):
        to_naming(timm_dinov3().state_dict(), 'official')


def test_other_libraries_have_none():
    with pytest.raises(
        CheckpointError, match='mmdet has no DINOv3 ViT; choose from official, timm'
    ):
        to_naming(manifold_dinov3().state_dict(), 'mmdet')


def test_vits_and_dinov3_are_not_taken_for_each_other():
    for state in (
        timm_dinov3().state_dict(),
        timm_dinov3(qkv_bias=True).state_dict(),
        manifold_dinov3().state_dict(),
    ):
        with pytest.raises(CheckpointError, match='is a DINOv3 ViT; it does not fit ManifoldViT'):
            load_checkpoint(manifold_vit(num_register_tokens=4), state)
    for build in (lambda: timm_vit(reg_tokens=4, init_values=0.1), manifold_vit):
        with pytest.raises(CheckpointError, match='is a ViT; it does not fit ManifoldDINOv3'):
            load_checkpoint(manifold_dinov3(), build().state_dict())
    with pytest.raises(CheckpointError, match='is a Swin; it does not fit ManifoldDINOv3'):
        load_checkpoint(manifold_dinov3(), manifold_swin().state_dict())


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('eva02_base_patch14_224', 'EVA-02, with norms within its branches'),
        ('eva02_tiny_patch14_224', 'BEiT, EVA'),
        ('beit_base_patch16_224', 'BEiT, EVA'),
        ('vit_small_patch16_rope_224', 'BEiT, EVA'),
        ('vit_small_patch16_rope_mixed_224', 'BEiT, EVA'),
        ('vit_betwixt_patch16_rope_reg4_gap_256', 'BEiT, EVA'),
        ('convnext_tiny', 'it is a ConvNeXt'),
    ],
)
def test_relatives_are_refused_by_name(name, words):
    if not timm.is_model(name):
        pytest.skip(f'this timm has no {name}')
    with torch.device('meta'):
        shapes = {n: v.shape for n, v in timm.create_model(name).state_dict().items()}
    state = {n: torch.zeros(()).expand(shape) for n, shape in shapes.items()}
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(manifold_dinov3(), state)


@pytest.mark.parametrize(
    'name', ['stages.0.0.dwconv.weight', 'stages.0.layers.0.depthwise_conv.bias']
)
def test_dinov3s_convnext_is_refused_by_name(name):
    """In the names of the official code and of transformers."""
    state = {'downsample_layers.0.0.weight': torch.zeros(8, 3, 4, 4), name: torch.zeros(8)}
    with pytest.raises(CheckpointError, match=r'it is a ConvNeXt .*, which has no attention'):
        load_checkpoint(manifold_dinov3(), state)


@pytest.mark.parametrize('arch', [GATED, dict(DINOV3, depth=8)], ids=['mlp', 'depth'])
def test_another_arch_is_told_in_a_sentence(arch):
    with pytest.raises(CheckpointError, match='choose the arch of the checkpoint'):
        load_checkpoint(manifold_dinov3(arch), timm_dinov3().state_dict())


def test_other_heads_are_told_where_the_periods_tell_them():
    state = manifold_dinov3().state_dict()
    with pytest.raises(CheckpointError, match=r'has 2 heads .*, ManifoldDINOv3 4; choose the arch'):
        load_checkpoint(manifold_dinov3(dict(DINOV3, num_heads=4)), state)


def test_a_bias_of_the_key_is_refused():
    peer = timm_dinov3(qkv_bias=True)
    state = official_names(peer.state_dict(), peer.rope.periods)
    for name in [n for n in state if n.endswith('bias_mask')]:
        del state[name]
    with pytest.raises(CheckpointError, match='which the released DINOv3 masks'):
        load_checkpoint(manifold_dinov3(), state)
    state = transformers_names(peer.state_dict())
    state['layer.1.attention.k_proj.bias'] = torch.ones(32)
    with pytest.raises(CheckpointError, match=r'blocks\.1\.attn\.key\.bias has a bias of the key'):
        load_checkpoint(manifold_dinov3(), state)


@pytest.mark.parametrize('value', [torch.zeros(5), torch.zeros(3), torch.zeros(())])
def test_damaged_biases_are_told_in_a_sentence(value):
    peer = timm_dinov3(qkv_bias=True)
    state = official_names(peer.state_dict(), peer.rope.periods)
    state['blocks.0.attn.qkv.bias'] = value
    with pytest.raises(CheckpointError, match=r'blocks\.0\.attn\.qkv\.bias has the shape'):
        load_checkpoint(manifold_dinov3(), state)


def test_patches_are_resampled():
    ours = manifold_dinov3(patch_size=8, out_indices=2)
    report = load_checkpoint(ours, timm_dinov3().state_dict(), strict=True)
    assert report.names('resampled') == ['patch_embed.proj.weight']
    assert ours(image((48, 40)))[0].shape[2:] == (6, 5)


def folded(key_cfg, naming='timm', **args):
    """A trained backbone, and its checkpoint folded."""
    cfg = dict(type='mkbackbones.ManifoldDINOv3', arch=DINOV3, out_indices=(1, 2), **args)
    cfg |= dict(drop_path_rate=0.0, key_cfg=key_cfg)
    model = randomise(manifold_dinov3(key_cfg=key_cfg, **args))
    checkpoint = {f'backbone.{name}': value for name, value in model.state_dict().items()}
    return model, fold_checkpoint(checkpoint, naming, dict(backbone=cfg))


@pytest.mark.parametrize('qkv_bias', [True, False])
def test_linear_keys_fold_into_timms(qkv_bias):
    model, result = folded(dict(type='LinearK'), qkv_bias=qkv_bias)
    peer = timm_dinov3(qkv_bias=qkv_bias)
    peer.load_state_dict(result.state, strict=True)
    x = image((48, 112))
    assert difference(model, features(peer, x), x) < 1e-4


def test_a_folded_official_file_is_whole():
    model, result = folded(dict(type='LinearK'), 'official')
    again = manifold_dinov3()
    load_checkpoint(again, result.state, strict=True)
    assert difference(model, again, image((48, 112))) < 1e-4


def test_a_key_with_a_bias_has_no_place_in_a_stock_one():
    linear = dict(type='VanillaK', act_cfg=None, num_charts=2)
    with pytest.raises(CheckpointError, match='in DINOv3 ViT the key has none'):
        folded(linear)
    model = randomise(manifold_dinov3(key_cfg=linear))
    for name, parameter in model.named_parameters():
        if '.qkv.key.' in name and name.endswith('bias'):
            nn.init.zeros_(parameter)
    x = image((64, 64))
    with torch.no_grad():
        before = model(x)
    assert fold_manifold_keys(model) == []
    peer = timm_dinov3(qkv_bias=True)
    peer.load_state_dict(to_naming(model.state_dict(), 'timm'), strict=True)
    assert difference(model, before, x) < 1e-4
    assert difference(model, features(peer, x), x) < 1e-4


def test_the_width_is_that_of_the_checkpoint():
    wider = manifold_dinov3(dict(DINOV3, embed_dims=2 * VIT['embed_dims']))
    with pytest.raises(
        CheckpointError, match='has 32 channels, ManifoldDINOv3 64; choose the arch'
    ):
        load_checkpoint(wider, timm_dinov3().state_dict())
