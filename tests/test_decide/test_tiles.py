"""Thresholds of pictures that are cut into tiles: chosen by the scores that ``predict`` gives."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from hypothesis import given, settings
from hypothesis import strategies as st

import mkbackbones
from mkbackbones.commands import export, predict
from mkbackbones.commands.calibrate_threshold import main
from mkbackbones.commands.threshold_images import Split
from mkbackbones.decide.operating_point import OperatingPoint, Tiles
from mkbackbones.decide.thresholds import Outcome, Wish

from ..test_engine.tiny import detection_config, segmentation_config
from .test_command import project

GIVEN = ['config.py', 'trained.pth']
TILES = ['--tile', '40', '--overlap', '16']
CPU = ['--device', 'cpu']
POINT = OperatingPoint(0.5, Wish(min_recall=0.5), ['square'], 'trained.pth', Outcome(None, None))


@pytest.mark.parametrize('build', [detection_config, segmentation_config])
def test_scores_are_those_of_predict(build, tmp_path, monkeypatch, capsys, at_scores):
    monkeypatch.chdir(tmp_path)
    cfg = project(build, tmp_path, ('val',))
    for name in ('dataloader', 'cfg', 'evaluator'):
        cfg[f'test_{name}'] = copy.deepcopy(cfg[f'val_{name}'])
    cfg.test_cfg.type = 'TestLoop'
    # What prepares tiles in predict is the pipeline of the test set.
    cfg.val_dataloader.dataset.pipeline[1].scale = (96, 96)
    cfg.test_dataloader.dataset.pipeline[1].scale = (48, 48)
    cfg.test_dataloader.batch_size = 8
    cfg.dump('config.py')
    look, looks = Split.look, []

    def kept(self, model):
        looks.append(look(self, model))
        return looks[-1]

    monkeypatch.setattr(Split, 'look', kept)
    asked = ['--max-false-alarms', '0.4', '--per-class']
    assert main([*GIVEN, *asked, *TILES, *CPU, '--report', 'page.html']) == 0
    words = 'cores are those of tiles of 40 pixels with an overlap of 16; the threshold is for'
    assert words in capsys.readouterr().out and words in Path('page.html').read_text()
    point = OperatingPoint.load(Path('threshold.json'))
    assert point.tiles == Tiles(40, 16)
    (looked,) = looks
    words = [*GIVEN, 'val/img', '--out', 'out', '--threshold', 'threshold.json', *TILES, *CPU]
    assert predict.main(words) == 0
    images = json.loads(Path('out/predictions.json').read_text())['images']
    found = {image['file_name']: image for image in images}
    whole = mkbackbones.Predictor(*GIVEN, device='cpu')(looked.paths)
    assert len(looked.paths) == len(found) == 6
    for path, score, own, other in zip(looked.paths, looked.score, looked.scored.score, whole):
        assert score == found[path.name]['score'] != other.score
        assert found[path.name]['alarm'] == any(own > list(point.above.values()))
    assert any(point.threshold == score for score in looked.score)
    (best,) = mkbackbones.Predictor(*GIVEN, device='cpu', tile=40, overlap=16)(looked.paths[:1])
    assert list(best.class_scores[len(point.classes) - 1 :]) == looked.scored.score[0].tolist()
    if build is segmentation_config:
        return
    capsys.readouterr()
    assert main([*GIVEN, *asked, '--tile', '64', *CPU, '--out', 'none.json']) == 0
    assert 'no image is larger than a tile, 64 pixels' in capsys.readouterr().out


def test_a_threshold_of_other_tiles_is_refused_before_anything_is_built(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('mkbackbones.predict.predictor.Predictor', None)
    cv2.imwrite('a.png', np.zeros((64, 64, 3), np.uint8))
    POINT.save(Path('whole.json'))
    replace(POINT, tiles=Tiles(40, 16)).save(Path('tiles.json'))
    words = [*GIVEN, 'a.png', '--out', 'out', *CPU, '--threshold']
    for more, told in (
        (['tiles.json'], 'give --tile 40 --overlap 16, or choose one with calibrate-threshold'),
        (['tiles.json', '--tile', '40'], 'config.py trained.pth --tile 40 --overlap 20\n'),
        (['whole.json', *TILES], 'scores of whole pictures, and scores of others differ: leave ou'),
        (['whole.json', '--overlap', '16'], '--overlap 16 is for --tile PIXELS'),
        (['whole.json', '--tile', '40', '--overlap', '30'], 'from 0 to half of tile 40, 20'),
    ):
        assert predict.main([*words, *more]) == 2
        assert told in capsys.readouterr().err
    assert not Path('out').exists()


def test_an_exported_file_has_no_tiles(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    project(detection_config, tmp_path)
    for name in ('model.onnx', 'model.pt2', 'model.PT2'):
        Path(name).write_bytes(b'')
        words = ['config.py', name, '--min-recall', '0.5']
        assert main([*words, *TILES]) == 2
        assert 'which looks at whole pictures' in capsys.readouterr().err
        assert main([*words, '--device', 'cuda']) == 2
        assert 'on the CPU' in capsys.readouterr().err
        assert main(words) == 2
        assert f'{name} cannot be read as an exported file' in capsys.readouterr().err
        assert predict.main(['config.py', name, 'val', '--out', 'out', *CPU]) == 2
        assert 'a file that export has written' in capsys.readouterr().err
    replace(POINT, tiles=Tiles(40, 16)).save(Path('tiles.json'))
    assert export.main([*GIVEN, 'new.pt2', '--threshold', 'tiles.json']) == 2
    told = capsys.readouterr().err
    assert 'an exported file looks at whole pictures: choose one with' in told
    assert '--tile' not in told and not Path('new.pt2').exists()


def test_without_tiles_the_file_is_as_it_was(tmp_path):
    file = tmp_path / 'threshold.json'
    POINT.save(file)
    content = json.loads(file.read_text())
    assert content['version'] == 2 and 'tiles' not in content
    replace(POINT, tiles=Tiles(40, 16)).save(file)
    found = json.loads(file.read_text())
    tiles = dict(tile=40, overlap=16)
    assert found == dict(content, version=3, tiles=tiles)  # refused by releases without tiles
    assert OperatingPoint.load(file).tiles == Tiles(40, 16)
    for broken in (
        dict(found, version=2),
        dict(content, version=3),
        dict(found, tiles=None),
        dict(found, tiles=[40, 16]),
        dict(found, tiles=dict(tile=40)),
        dict(found, tiles=dict(tiles, tile='40')),
        dict(found, tiles=dict(tiles, overlap=True)),
        dict(found, tiles=dict(tiles, overlap=None)),
        dict(found, tiles=dict(tiles, overlap=21)),
        dict(found, tiles=dict(tile=0, overlap=0)),
        dict(found, version='3'),
    ):
        file.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match='cannot be read as an operating point'):
            OperatingPoint.load(file)


@settings(max_examples=20, deadline=None)
@given(st.builds(Tiles, st.integers(16, 9999), st.integers(0, 8)) | st.none())
def test_tiles_are_kept(tmp_path_factory, tiles):
    file = tmp_path_factory.getbasetemp() / 'threshold.json'
    point = replace(POINT, tiles=tiles)
    point.save(file)
    assert OperatingPoint.load(file) == point


def test_scores_of_whole_pictures_are_those_of_predict_too(tmp_path, monkeypatch, at_scores):
    """Whatever the pipeline of the validation images is."""
    monkeypatch.chdir(tmp_path)
    cfg = project(segmentation_config, tmp_path)
    cfg.val_dataloader.dataset.pipeline[1].scale = (32, 32)
    cfg.dump('config.py')
    assert main([*GIVEN, '--max-false-alarms', '0.4', *CPU]) == 0
    threshold = OperatingPoint.load(Path('threshold.json')).threshold
    found = mkbackbones.Predictor(*GIVEN, device='cpu')([f'val/img/{i}.png' for i in range(6)])
    assert min(abs(threshold - one.score) for one in found) < 1e-6
