"""A study whose test pictures are cut into tiles, from its file to what a run leaves."""

import json

import numpy as np
import pytest

from mkbackbones.study.define.plan import Run
from mkbackbones.study.define.spec import StudyError, read_study
from mkbackbones.study.evidence import load_evidence
from mkbackbones.study.prepare import prepared as module
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.records.plain_config import write_config

from ..folded import write_folded
from ..test_run.test_executors import wait

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
KINDS = ('detection', 'segmentation')


def prepare(folder, tile=None, extra=''):
    """A study of pictures of 64x64."""
    text = ''.join(
        f"tasks['{key}'].pop('splits')\n" + (f"tasks['{key}']['tile'] = {tile!r}\n" if tile else '')
        for key in KINDS
    )
    return prepare_study(read_study(write_folded(folder, keys=KINDS, extra=text + extra)))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('study')


@pytest.mark.parametrize('kind', KINDS)
def test_a_run(executor, folder, tmp_path, kind):
    """Equal where pictures fit into a tile; else the test is another one, and only the test."""
    found, evidence = {}, {}
    for name, tile in dict(none=None, large=dict(size=64), small=dict(size=40)).items():
        cfg = prepare(folder, tile).config(Run('main', kind, 'spatial', 0), 2)
        place = tmp_path / name
        place.mkdir()
        write_config(place, cfg)
        assert wait(executor.submit(place)) == '' and not (place / 'error.json').exists()
        found[name] = json.loads((place / 'result.json').read_text())
        evidence[name] = load_evidence(place / 'evidence.npz')
    for key in ('metrics', 'treatment', 'val_curve', 'losses'):
        assert found['large'][key] == found['none'][key]
    for name, value in vars(evidence['none']).items():
        assert np.array_equal(getattr(evidence['large'], name), value), name
    assert found['small']['val_curve'] == found['none']['val_curve']
    assert found['small']['inference_seconds'] > 0
    assert (evidence['small'].defect_score != evidence['none'].defect_score).any()
    assert 'score_off' in found['small']['treatment']


def test_it_counts(folder, monkeypatch):
    """A task without tiles is what it was before there were any."""
    hashed = []

    def kept(cfg, root, former=module.config_hash):
        hashed.append(cfg.get('study_tile'))
        return former(cfg, root)

    monkeypatch.setattr(module, 'config_hash', kept)
    run = Run('main', 'segmentation', 'stock', 0)
    tiles = (None, dict(size=40), dict(size=40, overlap=20), dict(size=40, overlap=8))
    none, one, same, other = (prepare(folder, tile).fingerprint(run) for tile in tiles)
    assert len({each['config'] for each in (none, one, other)}) == 3 and one == same
    assert hashed == [None, *2 * [dict(size=40, overlap=20)], dict(size=40, overlap=8)]


@pytest.mark.parametrize(
    'size, told',
    [
        (
            40,
            '8 of 8 test images are larger than a tile and tested in tiles of 40 pixels, of ',
        ),
        (64, 'no test image is larger than a tile of 64 pixels, so that tiles change nothing'),
    ],
)
def test_it_is_told(folder, size, told):
    prepared = prepare(folder, dict(size=size, overlap=4))
    words = f'{size} pixels, of which neighbours share 4 or more'
    for key in KINDS:
        (note,) = (note for note in prepared.notes if note.startswith(f'task {key}: {told}'))
        assert f'{note}.' in prepared.info().fairness
        assert prepared.info().tasks[key].settings['tiles'] == words
    plain = prepare(folder)
    assert not any('tile' in note for note in plain.notes)
    assert 'tiles' not in plain.info().tasks['detection'].settings


@pytest.mark.parametrize('split', ['val', 'test'])
def test_a_pipeline_that_cannot_prepare_tiles_is_told_before_anything_runs(folder, split):
    pipeline = {f'{split}_dataloader.dataset.pipeline': [dict(type='PackSegInputs')]}
    extra = f"tasks['segmentation']['options'] = {pipeline!r}\n"
    with pytest.raises(StudyError, match=f'task segmentation: {split}_dataloader.* has to begin'):
        prepare(folder, dict(size=40), extra)
