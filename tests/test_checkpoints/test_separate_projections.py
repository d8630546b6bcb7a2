"""transformers' and torchvision's names: read into the same network.

transformers is not needed: its checkpoints are made from timm's by its names.
"""

import re

import pytest
import torch
import torchvision
from torch import nn

from mkbackbones.checkpoints import CheckpointError, load_checkpoint, to_naming

from ..lacking import shapes_of
from .peers import (
    SWIN,
    VIT,
    difference,
    manifold_swin,
    manifold_swin_v2,
    manifold_vit,
    official_names,
    randomise,
    timm_swin,
    timm_swin_v2,
    timm_vit,
    timm_vit_features,
)
from .test_parity import image

VIT_NAMES = (
    (r'^(cls_token)$', r'embeddings.\1'),
    (r'^reg_token$', 'embeddings.register_tokens'),
    (r'^pos_embed$', 'embeddings.position_embeddings'),
    (r'^patch_embed\.proj\.', 'embeddings.patch_embeddings.projection.'),
    (r'^blocks\.(\d+)\.attn\.proj\.', r'encoder.layer.\1.attention.output.dense.'),
    (r'^blocks\.(\d+)\.attn\.', r'encoder.layer.\1.attention.attention.'),
    (r'^norm\.', 'layernorm.'),
)
PLAIN_NAMES = (
    *VIT_NAMES,
    (r'^blocks\.(\d+)\.norm1\.', r'encoder.layer.\1.layernorm_before.'),
    (r'^blocks\.(\d+)\.norm2\.', r'encoder.layer.\1.layernorm_after.'),
    (r'^blocks\.(\d+)\.mlp\.fc1\.', r'encoder.layer.\1.intermediate.dense.'),
    (r'^blocks\.(\d+)\.mlp\.fc2\.', r'encoder.layer.\1.output.dense.'),
)
DINOV2_NAMES = (
    *VIT_NAMES,
    (r'^blocks\.(\d+)\.ls([12])\.gamma$', r'encoder.layer.\1.layer_scale\2.lambda1'),
    (r'^blocks\.(\d+)\.(norm[12]|mlp\.fc[12])\.', r'encoder.layer.\1.\2.'),
)
BLOCK = r'^layers\.(\d+)\.blocks\.(\d+)\.'
SWIN_NAMES = (
    (r'^patch_embed\.proj\.', 'embeddings.patch_embeddings.projection.'),
    (r'^patch_embed\.norm\.', 'embeddings.norm.'),
    (rf'{BLOCK}norm1\.', r'encoder.layers.\1.blocks.\2.layernorm_before.'),
    (rf'{BLOCK}norm2\.', r'encoder.layers.\1.blocks.\2.layernorm_after.'),
    (rf'{BLOCK}attn\.proj\.', r'encoder.layers.\1.blocks.\2.attention.output.dense.'),
    (
        rf'{BLOCK}attn\.cpb_mlp\.',
        r'encoder.layers.\1.blocks.\2.attention.self.continuous_position_bias_mlp.',
    ),
    (rf'{BLOCK}attn\.q_bias$', r'encoder.layers.\1.blocks.\2.attention.self.query.bias'),
    (rf'{BLOCK}attn\.v_bias$', r'encoder.layers.\1.blocks.\2.attention.self.value.bias'),
    (rf'{BLOCK}attn\.', r'encoder.layers.\1.blocks.\2.attention.self.'),
    (rf'{BLOCK}mlp\.fc1\.', r'encoder.layers.\1.blocks.\2.intermediate.dense.'),
    (rf'{BLOCK}mlp\.fc2\.', r'encoder.layers.\1.blocks.\2.output.dense.'),
    (r'^layers\.(\d+)\.downsample\.', r'encoder.layers.\1.downsample.'),
    (r'^norm\.', 'layernorm.'),
)


def transformers_names(state, names, prefix=''):
    """Weights of timm or the official code as transformers writes them."""
    renamed = {}
    for name, value in state.items():
        if name.startswith('head'):
            renamed['classifier.weight' if 'weight' in name else 'classifier.bias'] = value
            continue
        parts = {name: value}
        if '.qkv.' in name:
            keys = ('query', 'key', 'value')
            parts = {name.replace('qkv', key): v for key, v in zip(keys, value.chunk(3))}
        for ours, part in parts.items():
            theirs = next(re.sub(a, b, ours) for a, b in names if re.match(a, ours))
            assert prefix + theirs not in renamed
            renamed[prefix + theirs] = part
    return renamed


@pytest.mark.parametrize('prefix', ['', 'vit.'])
def test_transformers_vit(prefix):
    peer = timm_vit()
    state = transformers_names(peer.state_dict(), PLAIN_NAMES, prefix)
    state |= {f'{prefix}pooler.dense.weight': torch.zeros(2, 2)}
    ours = manifold_vit()
    report = load_checkpoint(ours, state, strict=True)
    assert 'transformers vit' in report.naming and 'pooler.dense.weight' in report.dropped
    x = image((64, 64))
    assert difference(ours, timm_vit_features(peer, x), x) < 1e-4


def test_transformers_distilled_deit():
    peer = timm_vit(reg_tokens=1)
    state = transformers_names(peer.state_dict(), PLAIN_NAMES, 'deit.')
    state['deit.embeddings.distillation_token'] = state.pop('deit.embeddings.register_tokens')
    ours = manifold_vit(num_register_tokens=1)
    load_checkpoint(ours, state, strict=True)
    x = image((64, 64))
    assert difference(ours, timm_vit_features(peer, x), x) < 1e-4


@pytest.mark.parametrize('registers', [0, 4])
def test_transformers_dinov2(registers):
    """Positions have one for the class token, also with registers; timm adds it to the token."""
    peer = timm_vit(init_values=0.1, reg_tokens=registers, no_embed_class=True, num_classes=0)
    state = transformers_names(peer.state_dict(), DINOV2_NAMES, 'dinov2.')
    first = torch.randn(1, 1, VIT['embed_dims'])
    name = 'dinov2.embeddings.position_embeddings'
    state[name] = torch.cat([first, state[name]], dim=1)
    state['dinov2.embeddings.cls_token'] = state['dinov2.embeddings.cls_token'] - first
    state['dinov2.embeddings.mask_token'] = torch.zeros(1, VIT['embed_dims'])
    ours = manifold_vit(num_register_tokens=registers, init_values=0.1)
    report = load_checkpoint(ours, state, strict=True)
    assert report.dropped == ['embeddings.mask_token']
    x = image((64, 64))
    assert difference(ours, timm_vit_features(peer, x), x) < 1e-4


@pytest.mark.parametrize('prefix', ['', 'swin.'])
@pytest.mark.parametrize(
    ('make', 'build'),
    [(timm_swin, manifold_swin), (timm_swin_v2, manifold_swin_v2)],
    ids=['v1', 'v2'],
)
def test_transformers_swin(make, build, prefix):
    state = official_names(make((64, 64)).state_dict())
    ours, same = build(), build()
    report = load_checkpoint(ours, transformers_names(state, SWIN_NAMES, prefix), strict=True)
    assert 'transformers swin' in report.naming
    load_checkpoint(same, state, strict=True)
    assert difference(ours, same, image((61, 37))) == 0


def test_transformers_swin_as_a_backbone_has_a_norm_for_each_stage():
    ours = randomise(manifold_swin())
    state = ours.state_dict()
    norms = {name: state.pop(name) for name in list(state) if name.startswith('norm')}
    renamed = transformers_names(state, SWIN_NAMES)
    for name, value in norms.items():
        renamed[f'hidden_states_norms.stage{int(name[4]) + 1}.{name[6:]}'] = value
    other = manifold_swin()
    load_checkpoint(other, renamed, strict=True)
    assert difference(ours, other, image((61, 37))) == 0


def test_torchvision_vit():
    peer = torchvision.models.VisionTransformer(
        image_size=64,
        patch_size=16,
        num_layers=VIT['depth'],
        num_heads=VIT['num_heads'],
        hidden_dim=VIT['embed_dims'],
        mlp_dim=4 * VIT['embed_dims'],
    )
    peer = randomise(peer)
    ours = manifold_vit(out_indices=VIT['depth'] - 1)
    report = load_checkpoint(ours, peer.state_dict(), strict=True)
    assert 'torchvision vit' in report.naming
    assert report.dropped == ['heads.head.weight', 'heads.head.bias']
    x = image((64, 64))
    with torch.no_grad():
        tokens = peer._process_input(x)
        tokens = torch.cat([peer.class_token.expand(len(x), -1, -1), tokens], dim=1)
        wanted = peer.encoder(tokens)[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    assert difference(ours, [wanted], x) < 1e-4


@pytest.mark.parametrize('version', [1, 2])
def test_torchvision_swin(version):
    """torchvision shifts no window that is as large as the map: its maps are larger here."""
    from torchvision.models import swin_transformer as theirs

    blocks = dict(
        block=theirs.SwinTransformerBlockV2 if version == 2 else theirs.SwinTransformerBlock,
        downsample_layer=theirs.PatchMergingV2 if version == 2 else theirs.PatchMerging,
    )
    peer = theirs.SwinTransformer(
        patch_size=[4, 4],
        embed_dim=SWIN['embed_dims'],
        depths=SWIN['depths'],
        num_heads=SWIN['num_heads'],
        window_size=[4, 4],
        stochastic_depth_prob=0.0,
        **blocks,
    )
    peer = randomise(peer)
    ours = (manifold_swin_v2 if version == 2 else manifold_swin)()
    report = load_checkpoint(ours, peer.state_dict(), strict=True)
    assert f'torchvision swin{"v2" if version == 2 else ""}' in report.naming
    x = image((132, 148))
    maps = []
    with torch.no_grad():
        out = x
        for i, layer in enumerate(peer.features):
            out = layer(out)
            if i in (1, 3):
                maps.append(out.permute(0, 3, 1, 2))
        maps.append(peer.norm(out).permute(0, 3, 1, 2))
    ours.norm0 = ours.norm1 = nn.Identity()
    assert difference(ours, maps, x) < 1e-4


def test_they_are_written_in_others_and_not_in_these():
    peer = timm_vit(num_classes=0)
    state = transformers_names(peer.state_dict(), PLAIN_NAMES)
    peer.load_state_dict(to_naming(state, 'timm'), strict=True)
    for naming in ('transformers', 'torchvision'):
        with pytest.raises(CheckpointError, match=f"'{naming}' is unknown; choose from"):
            to_naming(state, naming)


@pytest.mark.parametrize('lost', ['weight', 'bias'])
def test_a_lost_key_is_told(lost):
    state = transformers_names(timm_vit().state_dict(), PLAIN_NAMES)
    del state[f'encoder.layer.1.attention.attention.key.{lost}']
    with pytest.raises(CheckpointError, match=rf'blocks\.1\.attn\.key\.{lost} is missing'):
        load_checkpoint(manifold_vit(), state)


BEIT = {
    'encoder.layer.0.lambda_1': torch.ones(32),
    'encoder.layer.0.attention.attention.relative_position_bias.table': torch.ones(2, 2),
}


@pytest.mark.parametrize('name', [*BEIT, 'embeddings.detection_tokens'])
def test_relatives_in_transformers_are_refused(name):
    state = transformers_names(timm_vit().state_dict(), PLAIN_NAMES, 'beit.')
    with pytest.raises(CheckpointError, match=r'BEiT|YOLOS'):
        load_checkpoint(manifold_vit(), {**state, f'beit.{name}': torch.ones(1, 3, 32)})


@pytest.mark.parametrize('name', ['mvit_v1_b', 'convnext_tiny', 'mobilenet_v3_small', 'maxvit_t'])
def test_other_architectures_of_torchvision_are_refused(name, monkeypatch):
    shapes = shapes_of(lambda: torchvision.models.get_model(name), monkeypatch)
    state = {n: torch.zeros(()).expand(shape) for n, shape in shapes.items()}
    for model in (manifold_vit(), manifold_swin()):
        with pytest.raises(CheckpointError):
            load_checkpoint(model, state)


def test_a_head_that_uses_the_name_of_an_anchor_does_no_harm():
    state = {f'backbone.{n}': v for n, v in timm_vit(num_classes=0).state_dict().items()}
    state['decode_head.conv_proj.weight'] = torch.zeros(2, 2, 1, 1)
    report = load_checkpoint(manifold_vit(), state, strict=True)
    assert report.dropped == ['decode_head.*']
