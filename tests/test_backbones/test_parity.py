"""The stock key against independent implementations with the same weights."""

import pytest
import timm
import torch
from torch import nn

from mkbackbones.backbones import ManifoldSwin, ManifoldViT
from mkbackbones.backbones.windows import (
    merge_windows,
    pad_to_windows,
    partition_windows,
    shifted_window_mask,
)

from ..lacking import intermediates
from .common import SWIN, VIT, tiny_swin, tiny_vit


def mmdet_names(name):
    """Our (official) Swin names in mmdet's naming."""
    for old, new in (
        ('layers.', 'stages.'),
        ('attn.', 'attn.w_msa.'),
        ('mlp.fc1', 'ffn.layers.0.0'),
        ('mlp.fc2', 'ffn.layers.1'),
        ('patch_embed.proj', 'patch_embed.projection'),
    ):
        name = name.replace(old, new)
    return name


def mmdet_weights(model):
    """Our state dict for mmdet's Swin; its merging reads 2x2 pixels channel by channel."""
    weights = {}
    for name, value in model.state_dict().items():
        if '.downsample.' in name:
            rows = value.shape[0] if value.dim() == 2 else 1
            parts = value.reshape(rows, 4, -1)[:, [0, 2, 1, 3]].transpose(1, 2)
            value = parts.reshape(value.shape)
        weights[mmdet_names(name)] = value
    return weights


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
@pytest.mark.parametrize('size', [(64, 64), (61, 37), (100, 160), (9, 130), (3, 3)])
def test_swin_equals_openmmlab_at_any_size(library, size):
    backbones = pytest.importorskip(f'{library}.models.backbones')
    torch.manual_seed(0)
    ours = tiny_swin().eval()
    peer = backbones.SwinTransformer(
        embed_dims=SWIN['embed_dims'],
        depths=SWIN['depths'],
        num_heads=SWIN['num_heads'],
        strides=(4, 2),
        out_indices=(0, 1),
        window_size=4,
        drop_path_rate=0.0,
    )
    result = peer.load_state_dict(mmdet_weights(ours), strict=False)
    assert result.unexpected_keys == []
    assert all('relative_position_index' in key for key in result.missing_keys)
    peer.train(False)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        for a, b in zip(ours(x), peer(x), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


@pytest.mark.parametrize('size', [(64, 64), (128, 64)])
def test_swin_equals_timm_on_the_window_grid(size):
    torch.manual_seed(0)
    ours = tiny_swin().eval()
    ours.norm0, ours.norm1 = nn.Identity(), nn.Identity()  # timm's features are not normalised
    peer = timm.models.swin_transformer.SwinTransformer(
        img_size=size,
        embed_dim=SWIN['embed_dims'],
        depths=SWIN['depths'],
        num_heads=SWIN['num_heads'],
        window_size=4,
        always_partition=True,
    ).eval()
    weights = {
        name.replace('layers.0.downsample', 'layers.1.downsample'): value
        for name, value in ours.state_dict().items()
    }
    result = peer.load_state_dict(weights, strict=False)
    assert result.unexpected_keys == []
    assert all(key.startswith(('norm.', 'head.')) for key in result.missing_keys)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        peers = intermediates(peer, x)
        for a, b in zip(ours(x), peers, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


@pytest.mark.parametrize('size', [(64, 64), (80, 48), (70, 50)])
@pytest.mark.parametrize('num_register_tokens', [0, 3])
def test_vit_equals_timm(size, num_register_tokens):
    torch.manual_seed(0)
    ours = tiny_vit(num_register_tokens=num_register_tokens, init_values=0.5).eval()
    peer = timm.models.vision_transformer.VisionTransformer(
        img_size=64,
        embed_dim=VIT['embed_dims'],
        depth=VIT['depth'],
        num_heads=VIT['num_heads'],
        reg_tokens=num_register_tokens,
        no_embed_class=num_register_tokens > 0,
        init_values=0.5,
        dynamic_img_size=True,
        dynamic_img_pad=True,
        num_classes=0,
    ).eval()
    peer.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        # timm crops the patch grid of padded images: compare where it gives the whole grid.
        height, width = (-(-side // 16) * 16 for side in size)
        x = nn.functional.pad(x, (0, width - size[1], 0, height - size[0]))
        plain = intermediates(peer, x, [1, 3])
        normed = intermediates(peer, x, [3], norm=True)
        for a, b in zip(ours(x), (plain[0], normed[0]), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_windowed_block_with_one_window_is_global():
    """A window as large as the grid sees what global attention sees."""
    torch.manual_seed(0)
    everywhere = tiny_vit(num_register_tokens=1)
    windowed = tiny_vit(num_register_tokens=1, window_size=4, global_blocks=[])
    windowed.load_state_dict(everywhere.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for a, b in zip(everywhere(x), windowed(x)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_windows_do_not_see_each_other():
    model = tiny_vit(window_size=2, global_blocks=[], out_indices=0).eval()
    x = torch.randn(1, 3, 64, 64)
    changed = x.clone()
    changed[..., 32:, 32:] += 1  # the last of four windows; class token aside, only it may change
    model.cls_token.data.zero_()
    with torch.no_grad():
        difference = (model(x)[0] - model(changed)[0]).abs().amax(1)[0] > 1e-6
    assert difference[2:, 2:].all()
    assert not difference[:2].any() and not difference[:, :2].any()


@pytest.mark.parametrize('size', [(5, 9), (8, 8), (1, 1)])
def test_partition_and_merge_are_inverse(size):
    x = pad_to_windows(torch.randn(2, *size, 3), 4)
    windows = partition_windows(x, 4)
    assert windows.shape[1] == 16
    assert torch.equal(merge_windows(windows, 4, x.shape[1:3]), x)
    assert torch.equal(windows[0].view(4, 4, 3), x[0, :4, :4])


def test_shifted_mask_separates_what_was_not_adjacent():
    """Against the definition: same region of the unshifted, padded grid."""
    size, window, shift = (8, 12), 4, 2
    rows, columns = torch.meshgrid(*(torch.arange(s) for s in size), indexing='ij')
    wrapped = torch.stack([rows < shift, columns < shift], -1)[None].int()
    rolled = partition_windows(torch.roll(wrapped, (-shift, -shift), (1, 2)), window)
    apart = (rolled[:, :, None] != rolled[:, None]).any(-1)
    mask = shifted_window_mask(size, window, shift, 'cpu')
    assert torch.equal(mask == -100, apart)
    assert torch.equal(mask == 0, ~apart)


@pytest.mark.slow
def test_full_size_architectures_build():
    for arch, millions in (('tiny', 27.5), ('small', 48.8), ('base', 86.7), ('large', 195.0)):
        model = ManifoldSwin(arch)
        assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)
    for arch, millions in (('tiny', 5.5), ('small', 21.7), ('base', 85.8), ('large', 303.3)):
        model = ManifoldViT(arch)
        assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)
