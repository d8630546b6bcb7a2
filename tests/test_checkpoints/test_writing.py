"""Writing in other namings: strict loading there, exact round trips, and the command."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file as load_safetensors

from mkbackbones.checkpoints import CheckpointError, read_weights, save_checkpoint, to_naming
from mkbackbones.commands.convert_checkpoint import main

from ..lacking import intermediates
from .peers import (
    difference,
    manifold_swin,
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

SWIN_NAMINGS = ('official', 'mmdet', 'mmseg', 'mmpretrain')
VIT_NAMINGS = ('timm', 'official', 'mmpretrain', 'mmseg')


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize('naming', SWIN_NAMINGS)
@pytest.mark.parametrize('outputs', [(0, 1, 2), (1, 2), (2,), (0, 1)])
def test_swin_round_trip(naming, outputs):
    state = randomise(manifold_swin(out_indices=outputs)).state_dict()
    assert same(read_weights(to_naming(state, naming)).state, dict(state))


@pytest.mark.parametrize('naming', ['official', 'mmdet'])
def test_positions_of_windows_that_are_not_square_are_refused(naming):
    state = dict(timm_swin(32).state_dict())
    tables = [name for name in state if name.endswith('relative_position_bias_table')]
    state |= {name: torch.zeros(13 * 27, state[name].shape[1]) for name in tables}
    with pytest.raises(CheckpointError, match='is not of a square window'):
        to_naming(state, naming)


@pytest.mark.parametrize('naming', VIT_NAMINGS)
def test_vit_round_trip(naming):
    state = randomise(manifold_vit()).state_dict()
    assert same(read_weights(to_naming(state, naming)).state, dict(state))


@pytest.mark.parametrize('args', [dict(init_values=0.1), dict(num_register_tokens=4)])
def test_timm_holds_layer_scale_and_registers(args):
    state = randomise(manifold_vit(**args)).state_dict()
    assert same(read_weights(to_naming(state, 'timm')).state, dict(state))


def test_mmpretrain_holds_layer_scale():
    state = randomise(manifold_vit(init_values=0.1)).state_dict()
    assert same(read_weights(to_naming(state, 'mmpretrain')).state, dict(state))


@pytest.mark.parametrize('source', ['timm', 'official', 'mmdet'])
@pytest.mark.parametrize('naming', ['timm', *SWIN_NAMINGS])
def test_from_any_swin_naming_to_any_and_back(source, naming):
    """A classifier's weights, its final norm included, survive every naming."""
    state = timm_swin((64, 64), num_classes=0).state_dict()
    if source == 'official':
        state = to_naming(official_names(state), 'official')
    elif source == 'mmdet':
        state = to_naming(state, 'mmdet')
    assert same(to_naming(to_naming(state, naming), source), dict(state))


@pytest.mark.parametrize('library', ['mmdet', 'mmseg', 'mmpretrain'])
def test_mm_swin_loads_strictly(library):
    ours = randomise(manifold_swin())
    peer = mm_swin(library)
    assert str(peer.load_state_dict(to_naming(ours.state_dict(), library), strict=True))
    assert difference(ours, peer, torch.randn(1, 3, 61, 37)) < 1e-4


def test_timm_swin_loads_strictly():
    ours = randomise(manifold_swin())
    peer = timm_swin((64, 64), num_classes=0)
    peer.load_state_dict(to_naming(ours.state_dict(), 'timm'), strict=True)
    ours.norm0 = ours.norm1 = ours.norm2 = torch.nn.Identity()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert difference(ours, intermediates(peer, x), x) < 1e-4


def test_vits_load_strictly():
    ours = randomise(manifold_vit(init_values=0.1))
    x = torch.randn(1, 3, 64, 64)
    peer = timm_vit(num_classes=0, init_values=0.1)
    peer.load_state_dict(to_naming(ours.state_dict(), 'timm'), strict=True)
    assert difference(ours, timm_vit_features(peer, x), x) < 1e-4
    plain = randomise(manifold_vit())
    peer = mmseg_vit()
    peer.load_state_dict(to_naming(plain.state_dict(), 'mmseg'), strict=True)
    assert difference(plain, peer, x) < 1e-4
    peer = mmpretrain_vit(layer_scale_init_value=0.1)  # skips from here where it is not installed
    peer.load_state_dict(to_naming(ours.state_dict(), 'mmpretrain'), strict=True)
    assert difference(ours, peer, x) < 1e-4


def test_what_a_naming_cannot_hold():
    manifold = manifold_swin(key_cfg=dict(type='KUA', num_charts=2, blocks=[1, 2])).state_dict()
    with pytest.raises(CheckpointError, match=r'layers\.0\.blocks\.1\.attn and 1 more.*fold'):
        to_naming(manifold, 'mmdet')
    for naming in ('mmseg', 'official', 'mmpretrain'):
        with pytest.raises(CheckpointError, match='no place for reg_token'):
            to_naming(manifold_vit(num_register_tokens=1).state_dict(), naming)
    with pytest.raises(CheckpointError, match=r'no place for blocks\.0\.ls1\.gamma'):
        to_naming(manifold_vit(init_values=1.0).state_dict(), 'mmseg')
    with pytest.raises(CheckpointError, match='mmdet has no ViT; choose from mmpretrain, mmseg'):
        to_naming(manifold_vit().state_dict(), 'mmdet')
    with pytest.raises(CheckpointError, match="did you mean 'mmdet'"):
        to_naming(manifold_swin().state_dict(), 'mmdte')


@pytest.mark.parametrize('naming', ['timm', 'official', 'mmdet'])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_command(tmp_path, capsys, naming, suffix):
    state = {f'backbone.{name}': v for name, v in mm_swin('mmseg').state_dict().items()}
    state['decode_head.conv.weight'] = torch.zeros(1)
    torch.save({'state_dict': state}, tmp_path / 'in.pth')
    out = tmp_path / 'new' / f'out{suffix}'
    assert main([str(tmp_path / 'in.pth'), str(out), '--to', naming, '--strict']) == 0
    printed = capsys.readouterr().out
    assert 'decode_head.*' in printed and 'outside the backbone' in printed
    assert ('norm0.weight' in printed) == (naming == 'timm')
    written = load_safetensors(out) if suffix == '.safetensors' else torch.load(out)
    container = {'timm': None, 'official': 'model', 'mmdet': 'state_dict'}[naming]
    written = written[container] if container and suffix == '.pth' else written
    backbone = {n.removeprefix('backbone.'): v for n, v in state.items() if 'decode' not in n}
    assert same(written, to_naming(backbone, naming))
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def run(capsys, *args):
    code = main([str(arg) for arg in args])
    return code, capsys.readouterr().err


def test_command_refuses(tmp_path, capsys):
    source, out = tmp_path / 'in.pth', tmp_path / 'out.pth'
    torch.save({**timm_vit().state_dict(), 'blocks.0.odd': torch.zeros(1)}, source)
    assert run(capsys, tmp_path / 'none.pth', out, '--to', 'timm') == (
        2,
        f'error: checkpoint {tmp_path / "none.pth"} does not exist\n',
    )
    code, message = run(capsys, source, out, '--to', 'mmdet')
    assert code == 2 and 'mmdet has no ViT' in message
    code, message = run(capsys, source, out, '--to', 'timm', '--strict')
    assert code == 2 and 'blocks.0.odd' in message
    code, message = run(capsys, source, tmp_path / 'out.onnx', '--to', 'timm')
    assert code == 2 and '.safetensors' in message
    assert not out.exists()
    out.write_text('precious')
    code, message = run(capsys, source, out, '--to', 'timm')
    assert code == 2 and '--force' in message and out.read_text() == 'precious'
    assert run(capsys, source, out, '--to', 'timm', '--force')[0] == 0
    assert 'cls_token' in torch.load(out)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'weights.pth'
    path.write_text('precious')

    def fail(checkpoint, file):
        Path(file).write_text('half')
        raise RuntimeError('no space left')

    monkeypatch.setattr(torch, 'save', fail)
    with pytest.raises(CheckpointError, match='no space left'):
        save_checkpoint({}, path, force=True)
    assert path.read_text() == 'precious'
    assert [file.name for file in tmp_path.iterdir()] == ['weights.pth']


@pytest.mark.parametrize('tool', ['convert_checkpoint', 'fold'])
def test_tools_start(tool, monkeypatch, capsys):
    script = Path(__file__).parents[2] / 'tools' / f'{tool}.py'
    monkeypatch.setattr(sys, 'argv', [str(script), '--help'])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(script), run_name='__main__')
    assert caught.value.code == 0 and '--to' in capsys.readouterr().out
