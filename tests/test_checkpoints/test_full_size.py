"""Parity at full size: Swin-T and ViT-S of each library, read back."""

import pytest
import timm
import torch
from torch import nn

from mkbackbones.checkpoints import load_checkpoint

from ..lacking import intermediates
from .peers import (
    SWIN_T,
    VIT_S,
    difference,
    manifold_dinov3,
    manifold_swin,
    manifold_swin_v2,
    manifold_vit,
    mm_swin,
    mmpretrain_vit,
    mmseg_vit,
    official_names,
    randomise,
    timm_swin,
    timm_vit,
    timm_vit_features,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize('library', ['mmdet', 'mmseg', 'mmpretrain'])
def test_mm_swin(library, tmp_path):
    peer = mm_swin(library, SWIN_T, window_size=7)
    torch.save({'state_dict': peer.state_dict()}, tmp_path / 'swin.pth')
    ours = manifold_swin(SWIN_T, window_size=7)
    load_checkpoint(ours, tmp_path / 'swin.pth', strict=True)
    for size in ((224, 224), (203, 157), (50, 301)):
        assert difference(ours, peer, torch.randn(1, 3, *size)) < 1e-4


@pytest.mark.parametrize('official', [False, True], ids=['timm', 'official'])
def test_timm_and_official_swin(official):
    peer = timm_swin((224, 448), SWIN_T, window_size=7)
    state = peer.state_dict()
    ours = manifold_swin(SWIN_T, window_size=7)
    source = {'model': official_names(state)} if official else state
    load_checkpoint(ours, source, strict=True)
    ours.norm0 = ours.norm1 = ours.norm2 = ours.norm3 = nn.Identity()
    x = torch.randn(1, 3, 224, 448)
    with torch.no_grad():
        assert difference(ours, intermediates(peer, x), x) < 1e-4


@pytest.mark.parametrize('trained', [8, 16])
def test_timm_swin_v2(trained):
    """Also in other windows than those of the weights."""
    sizes = (trained, trained, trained, trained // 2)
    peer = timm.create_model(
        'swinv2_tiny_window8_256',
        img_size=(256, 512),
        always_partition=True,
        pretrained_window_sizes=sizes,
    )
    peer = randomise(peer)
    ours = manifold_swin_v2(SWIN_T, window_size=8, pretrained_window_sizes=sizes)
    load_checkpoint(ours, peer.state_dict(), strict=True)
    ours.norm0 = ours.norm1 = ours.norm2 = ours.norm3 = nn.Identity()
    x = torch.randn(1, 3, 256, 512)
    with torch.no_grad():
        assert difference(ours, intermediates(peer, x), x) < 1e-4


@pytest.mark.parametrize('name', ['small', 'small_plus'])
def test_timm_dinov3(name):
    arch = dict(VIT_S, swiglu=name == 'small_plus')
    peer = randomise(timm.create_model(f'vit_{name}_patch16_dinov3_qkvb', num_classes=0))
    ours = manifold_dinov3(arch, out_indices=(6, 11))
    load_checkpoint(ours, peer.state_dict(), strict=True)
    for size in ((256, 256), (176, 304)):
        x = torch.randn(1, 3, *size)
        assert difference(ours, timm_vit_features(peer, x, VIT_S), x) < 1e-4


@pytest.mark.parametrize(
    ('name', 'args'),
    [
        ('vit_small_patch16_224', {}),
        ('deit_small_patch16_224', {}),
        ('vit_small_patch14_reg4_dinov2', dict(init_values=1.0, num_register_tokens=4)),
        ('deit3_small_patch16_224', dict(init_values=1.0)),
        ('deit_small_distilled_patch16_224', dict(num_register_tokens=1)),
    ],
)
def test_timm_vit_by_name(name, args, monkeypatch):
    size = 224
    extra = {} if 'distilled' in name else dict(dynamic_img_size=True)
    peer = randomise(timm.create_model(name, img_size=size, **extra))
    monkeypatch.setattr(timm, 'create_model', lambda *args, **kwargs: peer)
    patch_size = peer.patch_embed.patch_size[0]
    ours = manifold_vit(VIT_S, pretrain_img_size=size, patch_size=patch_size, **args)
    load_checkpoint(ours, f'timm://{name}', strict=True)
    x = torch.randn(1, 3, size, size)
    assert difference(ours, timm_vit_features(peer, x, VIT_S), x) < 1e-4
    if 'distilled' not in name:
        x = torch.randn(1, 3, 11 * patch_size, 15 * patch_size)
        assert difference(ours, timm_vit_features(peer, x, VIT_S), x) < 1e-4


@pytest.mark.parametrize('make', [mmseg_vit, mmpretrain_vit])
def test_mm_vit(make):
    peer = make(VIT_S, img_size=224)
    ours = manifold_vit(VIT_S, pretrain_img_size=224)
    load_checkpoint(ours, peer.state_dict(), strict=True)
    assert difference(ours, peer, torch.randn(1, 3, 224, 224)) < 1e-4


def test_odd_size_of_padded_vit():
    """timm crops the patch grid of padded images: compare where it gives the whole grid."""
    peer = timm_vit(VIT_S, img_size=224)
    ours = manifold_vit(VIT_S, pretrain_img_size=224)
    load_checkpoint(ours, peer.state_dict(), strict=True)
    x = torch.randn(1, 3, 203, 157)
    padded = nn.functional.pad(x, (0, 160 - 157, 0, 208 - 203))
    assert difference(ours, timm_vit_features(peer, padded, VIT_S), x) < 1e-4
