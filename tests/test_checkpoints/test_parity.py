"""Checkpoints of the real architectures, read back: outputs equal those of where they come from."""

import pytest
import torch

from mkbackbones.checkpoints import load_checkpoint

from ..lacking import intermediates
from .peers import (
    VIT,
    difference,
    manifold_swin,
    manifold_vit,
    mm_swin,
    mmpretrain_vit,
    mmseg_vit,
    official_names,
    timm_swin,
    timm_vit,
    timm_vit_features,
)

SIZES = [(64, 64), (61, 37), (96, 130)]


def image(size):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('library', ['mmdet', 'mmseg', 'mmpretrain'])
@pytest.mark.parametrize('size', SIZES)
def test_mm_swin_at_any_size(library, size):
    peer = mm_swin(library)
    ours = manifold_swin()
    report = load_checkpoint(ours, peer.state_dict(), strict=True)
    assert report.loaded == report.total
    assert difference(ours, peer, image(size)) < 1e-4


@pytest.mark.parametrize('official', [False, True], ids=['timm', 'official'])
def test_timm_and_official_swin_on_the_window_grid(official):
    size = (64, 128)
    peer = timm_swin(size)
    state = peer.state_dict()
    ours = manifold_swin()
    source = {'model': official_names(state)} if official else state
    report = load_checkpoint(ours, source, strict=True)
    assert report.dropped and all(name.startswith('head.') for name in report.dropped)
    x = image(size)
    with torch.no_grad():
        # timm's features are not normalised, but for the classifier's last.
        plain = intermediates(peer, x)
        last = peer.norm(plain[2].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    norm2 = ours.norm2
    ours.norm0 = ours.norm1 = ours.norm2 = torch.nn.Identity()
    assert difference(ours, plain, x) < 1e-4
    ours.norm2 = norm2
    assert difference(ours, [*plain[:2], last], x) < 1e-4


def test_official_file_in_mmdet_and_here():
    """mmdet's own conversion of the official Swin gives what our reader gives."""
    mmdet_swin = pytest.importorskip('mmdet.models.backbones.swin')
    state = official_names(timm_swin((64, 64)).state_dict())
    del state['norm.weight'], state['norm.bias']  # mmdet leaves the classifier's norm out
    peer = mm_swin('mmdet')
    for i in range(3):
        getattr(peer, f'norm{i}').reset_parameters()
    converted = mmdet_swin.swin_converter(state)
    peer.load_state_dict(
        {name.removeprefix('backbone.'): v for name, v in converted.items()}, strict=False
    )
    ours = manifold_swin()
    report = load_checkpoint(ours, state, strict=True)
    assert report.names('fresh') == [f'norm{i}.{p}' for i in range(3) for p in ('weight', 'bias')]
    assert difference(ours, peer, image((61, 37))) < 1e-4


VIT_KINDS = {
    'augreg': {},
    'no bias': dict(qkv_bias=False),
    'layer scale': dict(init_values=0.1),
    'registers': dict(init_values=0.1, reg_tokens=4, no_embed_class=True),
    'positions on patches only': dict(no_embed_class=True, init_values=0.1),
    'positions on registers': dict(reg_tokens=2),
}


@pytest.mark.parametrize('kind', VIT_KINDS)
@pytest.mark.parametrize('size', [(64, 64), (96, 48)])
def test_timm_vit(kind, size):
    args = VIT_KINDS[kind]
    peer = timm_vit(**args)
    ours = manifold_vit(
        num_register_tokens=args.get('reg_tokens', 0), init_values=args.get('init_values')
    )
    load_checkpoint(ours, peer.state_dict(), strict=True)
    x = image(size)
    assert difference(ours, timm_vit_features(peer, x), x) < 1e-4


def test_distilled_deit_with_its_token_as_a_register():
    import timm

    from .peers import randomise

    peer = timm.models.deit.VisionTransformerDistilled(
        img_size=64, embed_dim=VIT['embed_dims'], depth=VIT['depth'], num_heads=VIT['num_heads']
    )
    peer = randomise(peer)
    ours = manifold_vit(num_register_tokens=1)
    report = load_checkpoint(ours, {'model': peer.state_dict()}, strict=True)
    assert sorted({name.split('.')[0] for name in report.dropped}) == ['head', 'head_dist']
    x = image((64, 64))
    assert difference(ours, timm_vit_features(peer, x), x) < 1e-4


def test_dinov2_with_registers():
    """The official file names registers otherwise and stores a position for the class token."""
    peer = timm_vit(init_values=0.1, reg_tokens=4, no_embed_class=True, num_classes=0)
    state = peer.state_dict()
    state['register_tokens'] = state.pop('reg_token')
    offset = torch.randn(1, 1, VIT['embed_dims'])
    state['cls_token'] = state['cls_token'] - offset
    state['pos_embed'] = torch.cat([offset, state['pos_embed']], dim=1)
    state['mask_token'] = torch.zeros(1, VIT['embed_dims'])
    state = {name.replace('blocks.2.', 'blocks.1.2.'): v for name, v in state.items()}  # chunked
    ours = manifold_vit(num_register_tokens=4, init_values=1.0)
    report = load_checkpoint(
        ours, {'teacher': {'backbone.' + n: v for n, v in state.items()}}, True
    )
    assert report.dropped == ['mask_token']
    x = image((64, 64))
    assert difference(ours, timm_vit_features(peer, x), x) < 1e-4


def test_mae():
    peer = timm_vit(num_classes=0)
    decoder = {
        'decoder_blocks.0.attn.qkv.weight': torch.zeros(3, 1),
        'decoder_pred.bias': torch.zeros(1),
    }
    state = {
        **peer.state_dict(),
        **decoder,
        'mask_token': torch.zeros(1),
        'decoder_pos_embed': torch.zeros(1),
    }
    ours = manifold_vit()
    report = load_checkpoint(ours, {'model': state}, strict=True)
    assert len(report.dropped) == 4
    x = image((64, 64))
    assert difference(ours, timm_vit_features(peer, x), x) < 1e-4


@pytest.mark.parametrize('patch_bias', [True, False])
@pytest.mark.parametrize('qkv_bias', [True, False])
def test_mmseg_vit(patch_bias, qkv_bias):
    """At the size of the positions; at others the two resample positions in different ways."""
    peer = mmseg_vit(patch_bias=patch_bias, qkv_bias=qkv_bias)
    ours = manifold_vit()
    report = load_checkpoint(ours, {'state_dict': peer.state_dict()}, strict=True)
    assert bool(report.names('filled')) == (not patch_bias or not qkv_bias)
    assert difference(ours, peer, image((64, 64))) < 1e-4


@pytest.mark.parametrize('layer_scale', [0.0, 0.1])
def test_mmpretrain_vit(layer_scale):
    peer = mmpretrain_vit(layer_scale_init_value=layer_scale)
    ours = manifold_vit(init_values=0.5 if layer_scale else None)
    load_checkpoint(ours, peer.state_dict(), strict=True)
    assert difference(ours, peer, image((64, 64))) < 1e-4


def test_mmpretrain_vit_by_its_names():
    """The names that mmpretrain 1.x gives, written out, for where it is not installed."""
    peer = timm_vit(init_values=0.1, num_classes=0)
    names = {
        'patch_embed.proj': 'patch_embed.projection',
        'blocks.': 'layers.',
        'norm1': 'ln1',
        'norm2': 'ln2',
        'mlp.fc1': 'ffn.layers.0.0',
        'mlp.fc2': 'ffn.layers.1',
        'ls1.gamma': 'attn.gamma1.weight',
        'ls2.gamma': 'ffn.gamma2.weight',
    }
    state = {}
    for name, value in peer.state_dict().items():
        for old, new in names.items():
            name = name.replace(old, new)
        state['backbone.' + name.replace('norm.', 'ln1.')] = value
    state['head.layers.head.weight'] = torch.zeros(5, VIT['embed_dims'])
    ours = manifold_vit(init_values=1.0)
    report = load_checkpoint(ours, {'state_dict': state, 'meta': {}}, strict=True)
    assert report.dropped == ['head.*']
    x = image((64, 64))
    assert difference(ours, timm_vit_features(peer, x), x) < 1e-4
