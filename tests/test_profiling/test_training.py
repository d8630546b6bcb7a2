"""Whole models with each backbone in turn."""

import json

import pytest

from mkbackbones.backbones import ManifoldSwin
from mkbackbones.commands.profile_training import main
from mkbackbones.profiling import measure, training

pytest.importorskip('mmseg')

#: A Swin-T and a decoder that are narrow: what is tested is not the clock.
ARCH = dict(embed_dims=16, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8))
NARROW = [
    'model.decode_head.in_channels=[16,32,64,128]',
    'model.decode_head.channels=8',
    'model.decode_head.pool_scales=(1,)',
    'model.auxiliary_head.in_channels=64',
    'model.auxiliary_head.channels=8',
]
OPTIONS = [*NARROW, 'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(ManifoldSwin.archs, 'tiny', ARCH)
    monkeypatch.setattr(measure, 'SAMPLE_SECONDS', 0.0)
    monkeypatch.setattr(training, 'NUM_IMAGES', 4)
    monkeypatch.setattr(training, 'IMAGE_SIDE', 64)
    monkeypatch.setenv('MKBACKBONES_DATA', '')  # restored behind the test


def run(folder, *backbones):
    arguments = ['--size', '2x64x64', '--rounds', '1', '--iters', '1', '--device', 'cpu']
    config = 'upernet_swin-t-stock_synthetic.py'
    out = ['--out', str(folder), '--cfg-options', *OPTIONS]
    code = main([config, '--backbones', *backbones, *arguments, *out])
    return code, json.loads((folder / 'training.json').read_text())['rows']


def test_every_backbone_is_trained_and_its_share_measured(tmp_path, capsys):
    code, rows = run(tmp_path, 'swin-t', 'timm:swin-t')
    assert code == 0
    ours, timm = rows
    assert ours['note'] == ''
    assert len(ours['images_per_s']) == len(ours['step_ms']) == 1
    assert 0 < ours['backbone_ms'] < 2 * ours['step_ms'][0]
    assert timm['note'] == 'timm: backbones have no config of OpenMMLab'
    assert 'share' in capsys.readouterr().out


def test_options_that_no_training_knows_are_named(tmp_path, monkeypatch):
    from mkbackbones.recorded import RecordedForward

    seen = []
    monkeypatch.setattr(RecordedForward, 'tree', lambda self, x: seen.append(len(x)))
    _, rows = run(tmp_path, 'swin-t:recorded=yes', 'swin-t:compile=graphs', 'swin-t:loop=plain')
    recorded, compiled, plain = rows
    assert recorded['note'] == '' and len(seen) > 2
    assert compiled['note'].startswith('compile=graphs is for profile-backbone')
    assert plain['note'].startswith('loop=plain is for profile-backbone')


def test_what_was_measured_outlives_an_interruption(tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(training.Trainee, 'run', stop)
    code, rows = run(tmp_path, 'swin-t')
    assert code == 130
    assert rows[0]['backbone_ms'] > 0
    assert rows[0]['step_ms'] == []
