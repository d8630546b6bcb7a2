"""Where weights come from and how they are wrapped; what is refused, resampled and reported."""

import argparse
import http.server
import pickle
import threading
from collections import OrderedDict

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed, resample_patch_embed, resize_rel_pos_bias_table

from mkbackbones.backbones import ManifoldSwin, ManifoldViT
from mkbackbones.checkpoints import CheckpointError, load_checkpoint, read_weights
from mkbackbones.checkpoints.tensors import merging_from_unfold, merging_to_unfold, standard_table

from ..lacking import shapes_of
from .peers import manifold_swin, manifold_vit, mm_swin, timm_vit


@pytest.fixture(scope='module')
def swin_state():
    return mm_swin('mmdet').state_dict()


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope='module')
def loaded(swin_state):
    model = manifold_swin()
    load_checkpoint(model, swin_state, strict=True)
    return model


WRAPPERS = ['state_dict', 'model', 'module', 'teacher', 'model_state_dict']
PREFIXES = [
    '',
    'module.',
    'model.',
    'backbone.',
    'module.backbone.',
    '_orig_mod.',
    'img_backbone.net.',
]


@settings(max_examples=25, deadline=None)
@given(
    wrappers=st.lists(st.sampled_from(WRAPPERS), max_size=2),
    prefix=st.sampled_from(PREFIXES),
    extra=st.booleans(),
)
def test_any_wrapping(swin_state, loaded, wrappers, prefix, extra):
    source = {prefix + name: value for name, value in swin_state.items()}
    if prefix and extra:
        source['neck.convs.0.weight'] = torch.zeros(1)
    for wrapper in wrappers:
        source = {'epoch': 3, 'optimizer': {'state': {}}, 'meta': {}, wrapper: source}
    model = manifold_swin()
    report = load_checkpoint(model, source, strict=True)
    assert same_weights(model, loaded)
    assert ('neck.*' in report.dropped) == bool(prefix and extra)


@pytest.mark.parametrize('suffix', ['.pth', '.pt', '.bin', '.safetensors'])
def test_files(swin_state, loaded, tmp_path, suffix):
    path = tmp_path / f'weights{suffix}'
    if suffix == '.safetensors':
        save_file(swin_state, path)
    else:
        torch.save({'state_dict': OrderedDict(swin_state)}, path)
    for source in (path, str(path)):
        model = manifold_swin()
        load_checkpoint(model, source, strict=True)
        assert same_weights(model, loaded)


def test_training_checkpoint_needs_no_trust(swin_state, loaded, tmp_path):
    """What mmengine and timm store beside the weights is data."""
    history = HistoryBuffer()
    history.update(np.float64(0.5))
    checkpoint = {
        'state_dict': swin_state,
        'message_hub': {'log_scalars': {'train/loss': history}},
        'meta': {'best': np.float32(0.5), 'seed': np.int64(3), 'cfg': 'model = None'},
        'args': argparse.Namespace(lr=0.1),
    }
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    model = manifold_swin()
    load_checkpoint(model, tmp_path / 'epoch_1.pth', strict=True)
    assert same_weights(model, loaded)


class Bomb:
    """A pickle that runs code when it is loaded."""

    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return open, (str(self.flag), 'w')


@pytest.mark.parametrize('legacy', [False, True])
def test_code_runs_only_if_trusted(swin_state, tmp_path, legacy):
    path, flag = tmp_path / 'bomb.pth', tmp_path / 'ran'
    torch.save(
        {'state_dict': swin_state, 'hook': Bomb(flag)},
        path,
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(CheckpointError, match=r'open.*trusted=True'):
        load_checkpoint(manifold_swin(), path)
    assert not flag.exists()
    load_checkpoint(manifold_swin(), path, trusted=True)
    assert flag.exists()


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('page.pth', b'<html>404</html>', 'cannot be read'),
        ('pointer.bin', b'version https://git-lfs.github.com/spec/v1\n', 'cannot be read'),
        ('empty.pth', b'', 'cannot be read'),
        ('broken.safetensors', b'123', 'cannot be read'),
        ('vit.npz', b'', r'timm://'),
        ('list.pth', pickle.dumps([1]), ''),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(manifold_swin(), tmp_path / name)
    assert name in str(caught.value)


def test_sources_that_do_not_exist():
    with pytest.raises(FileNotFoundError, match='nowhere'):
        load_checkpoint(manifold_swin(), 'nowhere.pth')
    with pytest.raises(CheckpointError, match='unknown scheme'):
        load_checkpoint(manifold_swin(), 's3://bucket/swin.pth')
    with pytest.raises(CheckpointError, match='cannot be downloaded'):
        load_checkpoint(manifold_swin(), 'http://127.0.0.1:9/swin.pth')
    with pytest.raises(TypeError, match='load_from'):
        load_checkpoint(torch.nn.Linear(1, 1), {})


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_url(swin_state, loaded, tmp_path, monkeypatch, suffix):
    served = tmp_path / 'served'
    served.mkdir()
    if suffix == '.pth':
        torch.save(swin_state, served / 'swin.pth')
    else:
        save_file(swin_state, served / 'swin.safetensors')

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(served), **kwargs)

        def log_message(self, *args):
            pass

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}/swin{suffix}'
        model = manifold_swin()
        load_checkpoint(model, url, strict=True)
        server.shutdown()
    assert same_weights(model, loaded)
    load_checkpoint(manifold_swin(), url, strict=True)  # from the cache


def test_timm_name(monkeypatch):
    peer = timm_vit()
    calls = []
    monkeypatch.setattr(
        timm, 'create_model', lambda name, **args: calls.append((name, args)) or peer
    )
    model = manifold_vit()
    load_checkpoint(model, 'timm://vit_small_patch16_224.augreg_in21k', strict=True)
    assert calls == [('vit_small_patch16_224.augreg_in21k', {'pretrained': True})]
    assert torch.equal(model.cls_token, peer.cls_token)


def test_timm_name_with_a_typo():
    with pytest.raises(CheckpointError, match='vit_small_patch16_224'):
        load_checkpoint(manifold_vit(), 'timm://vit_smal_patch16_224')


def test_teacher_is_preferred_and_doubt_is_an_error(swin_state):
    both = {
        f'{who}.backbone.{n}': v for who in ('student', 'teacher') for n, v in swin_state.items()
    }
    assert read_weights(both).prefix == 'teacher.backbone.'
    twins = {f'{who}.{n}': v for who in ('left', 'right') for n, v in swin_state.items()}
    with pytest.raises(CheckpointError, match=r"'left\.', 'right\.'"):
        read_weights(twins)
    assert read_weights(twins, prefix='right').prefix == 'right.'
    with pytest.raises(CheckpointError, match=r"'left\.', 'right\.'"):
        read_weights(twins, prefix='backbone.')


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        ({'layer1.0.conv1.weight': torch.zeros(1)}, 'no ViT or Swin'),
        ({'patch_embed.proj.weight': torch.zeros(1), 'a': torch.zeros(1)}, 'naming is not known'),
        ({'state_dict': {}}, 'no weights'),
        ({'epoch': 3}, 'epoch'),
    ],
)
def test_what_is_no_backbone(state, message):
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(manifold_swin(), state)


def test_the_other_architecture(swin_state):
    with pytest.raises(CheckpointError, match='is a Swin; it does not fit ManifoldViT'):
        load_checkpoint(manifold_vit(), swin_state)


def test_position_bias_follows_the_window(swin_state, loaded):
    model = manifold_swin(window_size=7)
    report = load_checkpoint(model, swin_state, strict=True)
    name = 'layers.1.blocks.0.attn.relative_position_bias_table'
    assert len(report.names('resampled')) == 6 and name in report.names('resampled')
    wanted = resize_rel_pos_bias_table(loaded.state_dict()[name], (7, 7), (169, 4))
    assert torch.equal(model.state_dict()[name], wanted)


@pytest.mark.parametrize('registers', [0, 4])
def test_embeddings_follow_the_model(registers):
    peer = timm_vit(reg_tokens=registers, no_embed_class=registers > 0)
    model = manifold_vit(num_register_tokens=registers, pretrain_img_size=96, patch_size=12)
    report = load_checkpoint(model, peer.state_dict(), strict=True)
    assert report.names('resampled') == ['patch_embed.proj.weight', 'pos_embed']
    num = 0 if registers else 1
    wanted = resample_abs_pos_embed(peer.pos_embed, [8, 8], [4, 4], num)
    torch.testing.assert_close(model.pos_embed, wanted)
    wanted = resample_patch_embed(peer.patch_embed.proj.weight, [12, 12])
    torch.testing.assert_close(model.patch_embed.proj.weight, wanted)


def test_registers_on_one_side_only():
    peer = timm_vit(reg_tokens=2)  # with positions of their own
    model = manifold_vit()
    report = load_checkpoint(model, peer.state_dict())
    assert report.unexpected == ['reg_token'] and 'num_register_tokens' in str(report)
    pos = peer.pos_embed
    torch.testing.assert_close(
        model.cls_token + model.pos_embed[:, :1], peer.cls_token + pos[:, :1]
    )
    assert torch.equal(model.pos_embed[:, 1:], pos[:, 3:])
    peer = timm_vit()
    model = manifold_vit(num_register_tokens=2)
    report = load_checkpoint(model, peer.state_dict())
    assert report.missing == ['reg_token']
    torch.testing.assert_close(model.cls_token, peer.cls_token + peer.pos_embed[:, :1])
    assert torch.equal(model.pos_embed, peer.pos_embed[:, 1:])


def test_an_index_in_another_order(swin_state):
    """A checkpoint that stores how it reads its bias table is read that way."""
    order = torch.randperm(49)
    state = dict(swin_state)
    for name in list(state):
        if name.endswith('relative_position_index'):
            table = name.replace('_index', '_bias_table')
            state[table] = state[table][torch.argsort(order)]
            state[name] = order[state[name]]
    model, reference = manifold_swin(), manifold_swin()
    load_checkpoint(model, state, strict=True)
    load_checkpoint(reference, swin_state, strict=True)
    assert same_weights(model, reference)
    table = torch.randn(49, 2)
    assert standard_table(table, torch.randint(49, (16, 16))) is None
    assert standard_table(table, torch.zeros(9, 9)) is None


@given(channels=st.integers(1, 9), rows=st.integers(0, 4))
def test_merging_orders_are_inverse(channels, rows):
    shape = (rows, 4 * channels) if rows else (4 * channels,)
    value = torch.randn(shape)
    assert torch.equal(merging_to_unfold(merging_from_unfold(value)), value)
    assert torch.equal(merging_from_unfold(merging_to_unfold(value)), value)


def test_every_loss_is_in_the_report_and_strict_raises(swin_state):
    state = {f'backbone.{name}': value for name, value in swin_state.items()}
    lost = state.pop('backbone.stages.1.blocks.0.attn.w_msa.qkv.bias')
    assert lost is not None
    state['backbone.stages.0.blocks.0.extra.weight'] = torch.zeros(1)
    state['backbone.absolute_pos_embed'] = torch.zeros(1, 4, 16)
    state['backbone.norm1.bias'] = torch.zeros(3)
    state['bbox_head.fc.weight'] = torch.zeros(1)
    model = manifold_swin()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(model, state, strict=True)
    for part in (
        'missing     layers.1.blocks.0.attn.qkv.bias',
        'unexpected  stages.0.blocks.0.extra.weight',
        'absolute positions in Swin are not supported',
        'shape       norm1.bias',
        '(3,) in the checkpoint, (32,) here',
        'bbox_head.*',
    ):
        assert part in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    report = load_checkpoint(model, state)
    assert report.missing == ['layers.1.blocks.0.attn.qkv.bias']
    assert report.unexpected == ['absolute_pos_embed', 'stages.0.blocks.0.extra.weight']
    assert report.mismatched == ['norm1.bias']
    assert report.loaded == report.total - 2


def test_another_width_is_always_an_error(swin_state):
    wider = manifold_swin(dict(embed_dims=32, depths=(2, 2, 2), num_heads=(2, 4, 4)))
    with pytest.raises(CheckpointError, match='has 16 channels, ManifoldSwin 32; choose the arch'):
        load_checkpoint(wider, swin_state)


def test_nothing_fits_is_always_an_error():
    state = {n: torch.zeros(16, 1) for n in manifold_swin().state_dict()}
    with pytest.raises(CheckpointError, match=r'nothing in|dimensions'):
        load_checkpoint(manifold_swin(), state)


FOREIGN = {
    'swinv2_tiny_window8_256': 'Swin V2',
    'swinv2_cr_tiny_ns_224': 'Swin V2 CR',
    'beit_base_patch16_224': 'BEiT',
    'eva02_tiny_patch14_224': 'EVA',
    'vit_small_patch16_dinov3': 'DINOv3',
    'hiera_tiny_224': '.',
    'samvit_base_patch16': 'ViTDet or SAM',
    'vit_base_patch16_clip_224': 'CLIP',
    'xcit_nano_12_p16_224': 'no ViT or Swin',
    'cait_xxs24_224': 'CaiT',
    'pvt_v2_b0': '.',
    'twins_svt_small': 'no ViT or Swin',
    'mvitv2_tiny': 'MViT',
    'maxvit_nano_rw_256': '.',
    'resnet18': 'no ViT or Swin',
    'convnext_atto': 'no ViT or Swin',
    'volo_d1_224': '.',
    'focalnet_tiny_srf': '.',
    'davit_tiny': '.',
    'levit_128s': '.',
    'mixer_s16_224': '.',
    'vit_relpos_small_patch16_224': '.',
}


@pytest.mark.parametrize('name', FOREIGN)
def test_other_architectures_are_refused_and_not_half_loaded(name, monkeypatch):
    """Also where width and depth would fit: the model has those of the checkpoint."""
    if not timm.is_model(name):
        pytest.skip(f'this timm has no {name}')
    shapes = shapes_of(lambda: timm.create_model(name), monkeypatch)
    state = {n: torch.zeros(()).expand(shape) for n, shape in shapes.items()}
    widths = [len(v) for n, v in state.items() if n.endswith('patch_embed.proj.weight')]
    arch = dict(embed_dims=widths[0] if widths else 32, depth=2, num_heads=1)
    if 'layers.0.blocks.0.norm1.weight' in state:
        arch['depths'] = [1 + last_block(state, stage) for stage in range(4)]
        arch['num_heads'] = (1, 1, 1, 1)
        del arch['depth']
    model = ManifoldSwin(arch) if 'depths' in arch else ManifoldViT(arch)
    with pytest.raises(CheckpointError, match=FOREIGN[name]):
        load_checkpoint(model, state)


def last_block(state, stage):
    blocks = [n.split('.')[3] for n in state if n.startswith(f'layers.{stage}.blocks.')]
    return max(map(int, blocks), default=0)


def test_another_depth_is_refused(swin_state):
    deeper = manifold_swin(dict(embed_dims=16, depths=(2, 12, 2), num_heads=(2, 4, 4)))
    with pytest.raises(CheckpointError, match='choose the arch of the checkpoint'):
        load_checkpoint(deeper, swin_state)


def test_weights_that_are_not_finite_are_problems(swin_state):
    state = dict(swin_state)
    name = next(name for name in state if name.endswith('qkv.weight'))
    state[name] = state[name].clone()
    state[name][0, :2] = float('nan')
    report = load_checkpoint(manifold_swin(), state)
    assert [entry.status for entry in report.problems] == ['not finite']
    assert '2 of' in str(report) and report.problems[0].name.endswith('qkv.weight')
    with pytest.raises(CheckpointError, match='not finite'):
        load_checkpoint(manifold_swin(), state, strict=True)


def test_averages_of_the_weights_are_said_and_can_be_chosen(tmp_path, swin_state, caplog):
    average = {name: value.clone().zero_() if value.is_floating_point() else value
               for name, value in swin_state.items()}  # fmt: skip
    torch.save({'state_dict': swin_state, 'ema_state_dict': average}, tmp_path / 'x.pth')
    model = manifold_swin()
    load_checkpoint(model, tmp_path / 'x.pth')
    assert model.patch_embed.proj.weight.any()
    load_checkpoint(model, tmp_path / 'x.pth', entry='ema_state_dict')
    assert not model.patch_embed.proj.weight.any()
    with pytest.raises(CheckpointError, match=r"no entry 'ema'; .*: state_dict, ema_state"):
        load_checkpoint(model, tmp_path / 'x.pth', entry='ema')


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        (5, torch.zeros(2)),
        ('patch_embed.projection.weight', torch.tensor(1.0)),
        ('stages.0.blocks.0.attn.w_msa.relative_position_index', torch.full((16, 16), 10**6)),
        ('stages.0.blocks.0.attn.w_msa.relative_position_bias_table', torch.zeros(49)),
        ('stages.0.blocks.0.attn.w_msa.qkv.weight', torch.zeros(3)),
        ('stages.0.downsample.reduction.weight', torch.zeros(3)),
        ('norm1.weight', torch.tensor(1.0)),
    ],
)
def test_malformed_entries_are_told_in_a_sentence(swin_state, name, value):
    with pytest.raises(CheckpointError):
        load_checkpoint(manifold_swin(), {**swin_state, name: value}, strict=True)


@pytest.mark.parametrize('dtype', [torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_floating_point_numbers_are_problems(swin_state, dtype):
    name = 'stages.0.blocks.0.attn.w_msa.qkv.weight'
    state = {**swin_state, name: swin_state[name].to(dtype)}
    model = manifold_swin()
    before = model.layers[0].blocks[0].attn.qkv.weight.clone()
    report = load_checkpoint(model, state)
    assert [(e.status, e.name) for e in report.problems] == [
        ('type', 'layers.0.blocks.0.attn.qkv.weight')
    ]
    assert torch.equal(model.layers[0].blocks[0].attn.qkv.weight, before)


def test_half_precision_is_none_of_their_concern(swin_state):
    state = {n: v.half() if v.is_floating_point() else v for n, v in swin_state.items()}
    assert not load_checkpoint(manifold_swin(), state).problems


@pytest.mark.parametrize('name', ['a\ud800.weight', 'a\nb', 'a\0'])
def test_names_that_cannot_be_printed_are_told(swin_state, name):
    with pytest.raises(CheckpointError, match='plain text'):
        load_checkpoint(manifold_swin(), {**swin_state, name: torch.zeros(1)})
