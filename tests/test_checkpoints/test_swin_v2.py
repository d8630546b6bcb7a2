"""Swin V2: checkpoints of timm, the official code and mmpretrain, here, back and folded."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import get_relative_position_index
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn

from mkbackbones import fold_manifold_keys
from mkbackbones.checkpoints import CheckpointError, load_checkpoint, read_weights, to_naming
from mkbackbones.checkpoints.fold import fold_checkpoint

from ..lacking import intermediates
from .peers import (
    SWIN,
    difference,
    manifold_swin,
    manifold_swin_v2,
    mmpretrain_swin_v2,
    official_names,
    randomise,
    takes,
    timm_swin_v2,
)
from .test_parity import SIZES, image

WINDOWS = [None, (3, 3, 2), (8, 0, 6)]


def padded_first(peer):
    """timm pads what it has shifted; ours and the official detectors shift what they have padded.

    Let timm's blocks have nothing left to pad.
    """

    def pad(attend, window):
        def run(x):
            height, width = x.shape[1:3]
            x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
            return attend(x)[:, :height, :width]

        return run

    for stage in peer.layers:
        for block in stage.blocks:
            block._attn = pad(block._attn, block.window_size[0])
    return peer


def stages_of(peer, x):
    """timm's stages, normalised as the outputs are: the last by the classifier's norm."""
    x = F.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4))
    with torch.no_grad():
        *maps, last = intermediates(peer, x)
        return [*maps, peer.norm(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)]


def without_first_norms(model):
    model.norm0 = model.norm1 = nn.Identity()
    return model


@pytest.mark.parametrize('official', [False, True], ids=['timm', 'official'])
@pytest.mark.parametrize('sizes', WINDOWS, ids=str)
@pytest.mark.parametrize('size', [(64, 128), *SIZES])
def test_the_stages_are_timms(official, sizes, size):
    if takes(SwinTransformerV2, 'strict_img_size'):
        peer_size = (64, 64)
    elif size == (64, 128):
        peer_size = size
    else:
        pytest.skip('models of this timm have one size')
    peer = timm_swin_v2(peer_size, pretrained_window_sizes=sizes or (0, 0, 0))
    state = peer.state_dict()
    ours = manifold_swin_v2(pretrained_window_sizes=sizes)
    report = load_checkpoint(
        ours, {'model': official_names(state)} if official else state, strict=True
    )
    assert ('official' if official else 'timm') in report.naming
    x = image(size)
    assert difference(without_first_norms(ours), stages_of(padded_first(peer), x), x) < 1e-4


def test_on_the_window_grid_they_are_timms_as_it_is():
    peer = timm_swin_v2((64, 128), strict_img_size=True)
    ours = manifold_swin_v2()
    load_checkpoint(ours, peer.state_dict(), strict=True)
    x = image((64, 128))
    assert difference(without_first_norms(ours), stages_of(peer, x), x) < 1e-4


def test_the_scale_of_logits_ends_at_a_hundred():
    peer = timm_swin_v2((64, 64))
    state = peer.state_dict()
    for name in state:
        if name.endswith('logit_scale'):
            state[name].fill_(math.log(1000))
    peer.load_state_dict(state)
    ours, ended = manifold_swin_v2().double(), manifold_swin_v2().double()
    load_checkpoint(ours, state, strict=True)
    for name in state:
        if name.endswith('logit_scale'):
            state[name].fill_(math.log(100))
    load_checkpoint(ended, state, strict=True)
    x = image((64, 64)).double()
    assert difference(without_first_norms(ours), stages_of(peer.double(), x), x) < 1e-8
    assert difference(without_first_norms(ended), ours, x) < 1e-8


def with_buffers(state, window, trained):
    """An official file also stores what follows from the window."""
    steps = torch.arange(1.0 - window, window) * 8 / (trained - 1)
    steps = steps.sign() * torch.log2(steps.abs() + 1) / 3
    table = torch.stack(torch.meshgrid(steps, steps, indexing='ij'), dim=-1)[None]
    for name in [n for n in state if n.endswith('.logit_scale')]:
        attention = name.removesuffix('logit_scale')
        state[f'{attention}relative_coords_table'] = table.clone()
        state[f'{attention}relative_position_index'] = get_relative_position_index(window, window)
    return state


def test_windows_of_an_official_file_have_to_be_told():
    state = with_buffers(official_names(timm_swin_v2((64, 64)).state_dict()), 4, trained=4)
    assert not load_checkpoint(manifold_swin_v2(), state, strict=True).problems
    larger = manifold_swin_v2(window_size=8)
    report = load_checkpoint(larger, state)
    assert 'for windows of 4, here 8; set pretrained_window_sizes' in str(report)
    with pytest.raises(CheckpointError, match='set pretrained_window_sizes'):
        load_checkpoint(larger, state, strict=True)
    told = manifold_swin_v2(window_size=8, pretrained_window_sizes=(4, 4, 4))
    load_checkpoint(told, state, strict=True)


def test_another_order_of_tokens_is_refused():
    state = with_buffers(official_names(timm_swin_v2((64, 64)).state_dict()), 4, trained=4)
    name = 'layers.1.blocks.0.attn.relative_position_index'
    state[name] = state[name].flip(0)
    with pytest.raises(CheckpointError, match=re.escape(name)):
        load_checkpoint(manifold_swin_v2(), state)


@pytest.mark.parametrize('size', SIZES)
def test_mmpretrain_at_any_size(size):
    peer = mmpretrain_swin_v2(pretrained_window_sizes=[3, 3, 2])
    ours = manifold_swin_v2(pretrained_window_sizes=(3, 3, 2))
    load_checkpoint(ours, peer.state_dict(), strict=True)
    x = image(size)
    assert difference(ours, peer, x) < 1e-4
    result = peer.load_state_dict(to_naming(ours.state_dict(), 'mmpretrain'), strict=False)
    assert not result.unexpected_keys
    assert all('relative_' in name for name in result.missing_keys)  # which it works out itself
    assert difference(ours, peer, x) < 1e-4


def mmpretrain_names(state):
    """Weights of a timm Swin V2 as mmpretrain writes them, from the code of both."""
    renamed = {}
    for name, value in state.items():
        if name.endswith('downsample.reduction.weight'):
            # nn.Unfold: channel by channel, and in each the 2x2 pixels row by row.
            value = value.unflatten(1, (2, 2, -1)).permute(0, 3, 2, 1).flatten(1)
        for ours, theirs in (
            ('patch_embed.proj', 'patch_embed.projection'),
            ('layers.', 'stages.'),
            ('.attn.', '.attn.w_msa.'),
            ('.mlp.fc1.', '.ffn.layers.0.0.'),
            ('.mlp.fc2.', '.ffn.layers.1.'),
        ):
            name = name.replace(ours, theirs)
        renamed[f'norm2.{name[5:]}' if name.startswith('norm.') else name] = value
    return renamed


def test_mmpretrains_names_give_the_same_as_timms():
    peer = timm_swin_v2((64, 64), num_classes=0)
    a, b = manifold_swin_v2(out_indices=2), manifold_swin_v2(out_indices=2)
    load_checkpoint(a, peer.state_dict(), strict=True)
    renamed = mmpretrain_names(peer.state_dict())
    assert 'mmpretrain swinv2' in load_checkpoint(b, renamed, strict=True).naming
    assert difference(a, b, image((61, 37))) == 0
    written = to_naming(peer.state_dict(), 'mmpretrain')
    assert written.keys() == renamed.keys()
    assert all(torch.equal(written[name], renamed[name]) for name in written)


@pytest.mark.parametrize('naming', ['timm', 'official', 'mmpretrain'])
def test_round_trip(naming):
    state = randomise(manifold_swin_v2(out_indices=(2,))).state_dict()
    back = read_weights(to_naming(state, naming)).state
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_timm_loads_strictly_what_is_written():
    ours = randomise(manifold_swin_v2())
    peer = timm_swin_v2((64, 64), num_classes=0)
    peer.load_state_dict(to_naming(ours.state_dict(), 'timm'), strict=True)
    x = image((64, 64))
    assert difference(without_first_norms(ours), stages_of(peer, x), x) < 1e-4


def test_v1_and_v2_are_not_taken_for_each_other():
    with pytest.raises(CheckpointError, match='is a Swin V2; it does not fit ManifoldSwin'):
        load_checkpoint(manifold_swin(), timm_swin_v2((64, 64)).state_dict())
    with pytest.raises(CheckpointError, match='is a Swin; it does not fit ManifoldSwinV2'):
        load_checkpoint(manifold_swin_v2(), manifold_swin().state_dict())
    with pytest.raises(CheckpointError, match='mmdet has no Swin V2'):
        to_naming(manifold_swin_v2().state_dict(), 'mmdet')


def folded(key_cfg, naming='timm', **args):
    """A trained backbone, and its checkpoint folded."""
    cfg = dict(
        type='mkbackbones.ManifoldSwinV2',
        arch=SWIN,
        out_indices=(0, 1, 2),
        window_size=4,
        drop_path_rate=0.0,
        key_cfg=key_cfg,
        **args,
    )
    model = randomise(manifold_swin_v2(key_cfg=key_cfg, **args))
    checkpoint = {f'backbone.{name}': value for name, value in model.state_dict().items()}
    return model, fold_checkpoint(checkpoint, naming, dict(backbone=cfg))


@pytest.mark.parametrize('qkv_bias', [True, False])
def test_linear_keys_fold_into_timms(qkv_bias):
    model, result = folded(dict(type='LinearK'), qkv_bias=qkv_bias)
    peer = timm_swin_v2((64, 64), num_classes=0, qkv_bias=qkv_bias)
    peer.load_state_dict(result.state, strict=True)
    x = image((64, 64))
    assert difference(without_first_norms(model), stages_of(peer, x), x) < 1e-4


def test_the_folded_config_is_mmpretrains():
    _, result = folded(dict(type='LinearK'), 'mmpretrain', pretrained_window_sizes=(3, 3, 2))
    assert result.backbone_cfg == dict(
        type='mmpretrain.SwinTransformerV2',
        arch=dict(SWIN, extra_norm_every_n_blocks=0),
        window_size=4,
        pretrained_window_sizes=(3, 3, 2),
        out_indices=(0, 1, 2),
        pad_small_map=True,
    )


def test_a_key_with_a_bias_has_no_place_in_a_stock_v2():
    linear = dict(type='VanillaK', act_cfg=None, num_charts=2)
    with pytest.raises(CheckpointError, match='no place for the key bias'):
        folded(linear)
    model = randomise(manifold_swin_v2(key_cfg=linear))
    for name, parameter in model.named_parameters():
        if '.qkv.key.' in name and name.endswith('bias'):
            nn.init.zeros_(parameter)
    x = image((64, 64))
    with torch.no_grad():
        before = model(x)
    assert fold_manifold_keys(model) == []
    peer = timm_swin_v2((64, 64), num_classes=0)
    peer.load_state_dict(to_naming(model.state_dict(), 'timm'), strict=True)
    assert difference(model, before, x) < 1e-4
    assert difference(without_first_norms(model), stages_of(peer, x), x) < 1e-4
