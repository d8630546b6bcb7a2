"""apply_manifold_key on foreign models: what stays the same, and what the keys then compute."""

import copy
import io

import pytest
import torch
from torch import nn

from mkbackbones import apply_manifold_key, fold_manifold_keys
from mkbackbones.attention.inject import manifold_layers
from mkbackbones.attention.qkv import ManifoldQKV

from ..lacking import needs_compiler
from ..test_backbones.common import tiny_swin, tiny_vit
from ..test_backbones.test_parity import mmdet_names, mmdet_weights
from .trees import KEY_CFGS, TREES, build, disturb_keys, key_id, max_error, outputs

every_tree = pytest.mark.parametrize('tree', TREES)
every_key = pytest.mark.parametrize('key_cfg', KEY_CFGS, ids=key_id)


@every_tree
@every_key
def test_outputs_do_not_change_at_step_0(tree, key_cfg):
    stock, model = build(tree), build(tree)
    assert apply_manifold_key(model, key_cfg) is model
    assert len(manifold_layers(model)) in (2, 4)
    for size in TREES[tree][1]:
        x = torch.randn(2, 3, *size)
        with torch.no_grad():
            assert max_error(outputs(model, x), outputs(stock, x)) < 2e-5


@every_tree
def test_random_numbers_drawn_later_are_those_of_the_stock_model(tree):
    build(tree)
    wanted = torch.rand(3)
    apply_manifold_key(build(tree), dict(type='SpatialK'))
    assert torch.equal(torch.rand(3), wanted)


@every_tree
@every_key
def test_gradients_reach_the_charts(tree, key_cfg):
    model = apply_manifold_key(build(tree), key_cfg)
    disturb_keys(model)
    x = torch.randn(2, 3, *TREES[tree][1][0])
    sum((out * torch.randn_like(out)).sum() for out in outputs(model, x)).backward()
    cancels = ('base.bias', 'key.proj.bias', 'key.fc2.bias')  # softmax ignores them
    for name in manifold_layers(model):
        for key_name, parameter in model.get_submodule(name).named_parameters():
            assert parameter.grad is not None and (
                parameter.grad.any() or key_name.endswith(cancels)
            ), f'{name}.{key_name}'


@every_tree
def test_amp(tree):
    model = apply_manifold_key(build(tree), dict(type='SpatialK', num_charts=2))
    disturb_keys(model)
    x = torch.randn(1, 3, *TREES[tree][1][0])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outs = outputs(model, x)
        loss = sum(out.float().square().mean() for out in outs)
    loss.backward()
    with torch.no_grad():
        for a, b in zip(outs, outputs(model, x), strict=True):
            torch.testing.assert_close(a.float(), b, rtol=0.05, atol=0.02 * float(b.abs().max()))
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@every_key
@pytest.mark.parametrize('size', [(64, 64), (32, 96), (16, 48)])
@pytest.mark.parametrize('registers', [0, 3])
def test_timm_vit_computes_what_manifold_vit_computes(key_cfg, size, registers):
    """ManifoldViT hands its grid down; the injected one has to find it."""
    from .trees import timm_vit

    torch.manual_seed(0)
    model = timm_vit(reg_tokens=registers, no_embed_class=registers > 0).eval()
    apply_manifold_key(model, key_cfg)
    disturb_keys(model)
    ours = tiny_vit(key_cfg=key_cfg, out_indices=-1, num_register_tokens=registers).eval()
    ours.load_state_dict(model.state_dict(), strict=True)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        tokens = model(x)[:, 1 + registers :].transpose(1, 2)
        assert max_error([tokens.unflatten(2, [side // 16 for side in size])], ours(x)) < 2e-5


@every_key
@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
@pytest.mark.parametrize('size', [(64, 64), (61, 37), (9, 130)])
def test_openmmlab_swin_computes_what_manifold_swin_computes(key_cfg, library, size):
    from .trees import openmmlab_swin

    pytest.importorskip(library)
    torch.manual_seed(0)
    ours = tiny_swin(key_cfg=key_cfg).eval()
    disturb_keys(ours)
    peer = apply_manifold_key(openmmlab_swin(library), key_cfg)
    peer.train(False)
    result = peer.load_state_dict(mmdet_weights(ours), strict=False)
    assert result.unexpected_keys == []
    assert all('relative_position_index' in key for key in result.missing_keys)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert max_error(peer(x), ours(x)) < 1e-4
    assert 'stages.0.blocks.0.attn.w_msa.qkv' in {mmdet_names(n) for n in manifold_layers(ours)}


@every_key
@pytest.mark.parametrize('size', [(64, 64), (61, 37), (16, 130)])
def test_mmseg_vit_computes_what_manifold_vit_computes(key_cfg, size):
    from .trees import mmseg_vit

    pytest.importorskip('mmseg')
    torch.manual_seed(0)
    side = 4
    ours = tiny_vit(key_cfg=key_cfg, final_norm=False).eval()
    for norm in (m for m in ours.modules() if isinstance(m, nn.LayerNorm)):
        norm.eps = 1e-5
    disturb_keys(ours)
    peer = apply_manifold_key(mmseg_vit(), key_cfg)
    peer.train(False)
    weights = {}
    for name, value in ours.state_dict().items():
        for old, new in (
            ('blocks.', 'layers.'),
            ('norm1', 'ln1'),
            ('norm2', 'ln2'),
            ('attn.', 'attn.attn.'),
            ('attn.proj', 'attn.out_proj'),
            ('mlp.fc1', 'ffn.layers.0.0'),
            ('mlp.fc2', 'ffn.layers.1'),
            ('patch_embed.proj', 'patch_embed.projection'),
        ):
            name = name.replace(old, new)
        weights[name] = value
    peer.load_state_dict(weights, strict=True)
    height, width = (-(-s // 16) for s in size)
    if (height, width) != (side, side):  # mmseg resamples positions without antialiasing
        for model in (ours, peer):
            model.pos_embed.data.copy_(model.pos_embed.data.mean(1, keepdim=True))
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert max_error(peer(x), ours(x)) < 1e-4


@every_tree
@pytest.mark.parametrize('key_cfg', KEY_CFGS[:4], ids=key_id)
def test_folded_tree_is_the_stock_tree(tree, key_cfg):
    model = apply_manifold_key(build(tree), key_cfg)
    disturb_keys(model)
    x = torch.randn(2, 3, *TREES[tree][1][0])
    nonlinear = key_cfg['type'] == 'MLPK'
    with torch.no_grad():
        before = outputs(model, x)
        stay = fold_manifold_keys(model)
        assert max_error(outputs(model, x), before) < 1e-5
    assert stay == (manifold_layers(model) if nonlinear else [])
    if nonlinear:
        return
    stock = build(tree, seed=5)
    # A key with biases of its own gives a bias to a projection that had none.
    strict = not tree.startswith(('timm-beit', 'timm-eva', 'timm-dinov3', 'timm-swin-v2'))
    stock.load_state_dict(model.state_dict(), strict=strict or key_cfg['type'] == 'LinearK')
    if strict or key_cfg['type'] == 'LinearK':
        with torch.no_grad():
            assert max_error(outputs(stock, x), before) < 1e-5


@pytest.mark.parametrize('tree', ['timm-vit', 'mmdet-swin', 'mmseg-vit'])
def test_stock_weights_load_into_the_injected_tree(tree):
    for key_cfg in KEY_CFGS:
        stock, model = build(tree), apply_manifold_key(build(tree, seed=7), key_cfg)
        model.load_state_dict(stock.state_dict(), strict=True)
        x = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            assert max_error(outputs(model, x), outputs(stock, x)) < 2e-5


def test_some_blocks_and_stages():
    def kinds(model):
        return [type(model.get_submodule(n).key).__name__ for n in manifold_layers(model)]

    model = apply_manifold_key(build('timm-vit'), dict(type='KUA', blocks=[0, -1]))
    assert manifold_layers(model) == ['blocks.0.attn.qkv', 'blocks.3.attn.qkv']
    model = apply_manifold_key(
        build('mmdet-swin'), [dict(type='KUA', stages=[1]), dict(type='SimpleK', blocks=[0])]
    )
    assert kinds(model) == ['SimpleK', 'KUA', 'KUA']
    model = apply_manifold_key(build('timm-swin'), dict(type='SpatialK', stages=0))
    assert manifold_layers(model) == ['layers.0.blocks.0.attn.qkv', 'layers.0.blocks.1.attn.qkv']
    model = apply_manifold_key(build('mmseg-vit'), dict(type='KUA', blocks=[2]))
    assert sum(isinstance(m, nn.MultiheadAttention) for m in model.modules()) == 3
    assert manifold_layers(apply_manifold_key(build('timm-vit'), None)) == []


def test_features_of_timm_keep_their_stages():
    import timm

    model = timm.create_model(
        'swin_tiny_patch4_window7_224', features_only=True, img_size=64, embed_dim=16,
        depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2), window_size=4,
    ).eval()  # fmt: skip
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model(x)
        apply_manifold_key(model, dict(type='SpatialK', stages=[2]))
        assert max_error(model(x), before) < 1e-5
    assert len(manifold_layers(model)) == 2


def test_a_frozen_layer_stays_frozen():
    model = build('timm-vit')
    model.blocks[0].requires_grad_(False)
    apply_manifold_key(model, dict(type='VanillaK'))
    assert not any(p.requires_grad for p in model.blocks[0].parameters())
    assert all(p.requires_grad for p in model.blocks[1].parameters())


@pytest.mark.parametrize('tree', ['timm-vit', 'mmdet-swin', 'mmseg-vit'])
@pytest.mark.parametrize('copied', ['deepcopy', 'pickle'])
def test_copies_watch_their_own_grid(tree, copied):
    model = apply_manifold_key(build(tree), dict(type='SpatialK', num_charts=2))
    disturb_keys(model)
    model(torch.randn(1, 3, 64, 64))
    if copied == 'deepcopy':
        twin = copy.deepcopy(model)
    else:
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        twin = torch.load(buffer, weights_only=False)
    layers = [(n, m) for n, m in twin.named_modules() if isinstance(m, ManifoldQKV)]
    assert all(m is not model.get_submodule(n) for n, m in layers)
    x = torch.randn(1, 3, 64, 64) if tree == 'mmdet-swin' else torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        wanted = outputs(model, x)
        model(torch.randn(1, 3, 64, 64))
        assert max_error(outputs(twin, x), wanted) == 0


@needs_compiler
def test_compiled_models():
    """A compiled model finds its layers and folds them."""
    x = torch.randn(1, 3, 64, 64)
    model = build('timm-vit')
    compiled = torch.compile(model, backend='eager')
    with torch.no_grad():
        stock = compiled(x)
        apply_manifold_key(compiled, dict(type='VanillaK', num_charts=2, act_cfg=None))
        assert max_error([compiled(x)], [stock]) < 1e-5
        disturb_keys(compiled)
        before = compiled(x)
        assert max_error([before], [stock]) > 1e-3  # the compiled model has the keys
        assert fold_manifold_keys(compiled) == []
        assert max_error([compiled(x)], [before]) < 1e-5


def test_models_for_several_gpus():
    """Layers are found within the wrapper, and folded."""
    model = apply_manifold_key(nn.DataParallel(build('timm-vit')), dict(type='KUA'))
    assert fold_manifold_keys(model)[0] == 'module.blocks.0.attn.qkv'


@needs_compiler
def test_compiled_after_injection():
    model = apply_manifold_key(build('timm-vit'), dict(type='SpatialK', num_charts=2))
    disturb_keys(model)
    compiled = torch.compile(model, backend='eager')
    with torch.no_grad():
        for size in ((64, 64), (32, 96)):
            x = torch.randn(1, 3, *size)
            assert max_error([compiled(x)], [model(x)]) < 1e-5
