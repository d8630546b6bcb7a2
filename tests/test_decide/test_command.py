"""``calibrate-threshold`` from a config and a checkpoint to a threshold and a page."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

import mkbackbones
from mkbackbones.commands import calibrate_threshold, threshold_images
from mkbackbones.commands.calibrate_threshold import main
from mkbackbones.commands.threshold_images import Split
from mkbackbones.decide.looked import Looked
from mkbackbones.decide.operating_point import OperatingPoint, Tiles

from ..test_commands.test_help import DOCUMENTED
from ..test_engine.tiny import (
    MANIFOLD_SWIN,
    detection_config,
    segmentation_config,
    write_images,
    write_project,
)


def project(build, folder, splits=('val', 'test')):
    """A config and a checkpoint; the images of a split are 3 good ones and 3 with a square."""
    images = {split: write_images(folder / split) for split in ('train', *splits)}
    for place in images.values():
        coco = json.loads((place / 'coco.json').read_text())
        coco['annotations'] = [a for a in coco['annotations'] if a['image_id'] >= 3]
        (place / 'coco.json').write_text(json.dumps(coco))
        for i in range(3):
            cv2.imwrite(str(place / f'map/{i}.png'), np.zeros((64, 64), np.uint8))
    cfg = build(images.pop('train'), folder / 'work', MANIFOLD_SWIN)
    return write_project(cfg, folder, images)[1]


@pytest.mark.parametrize('build', [detection_config, segmentation_config])
def test_a_threshold_and_a_page(build, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project(build, tmp_path)
    argv = ['config.py', 'trained.pth', '--max-false-alarms', '0.5', '--device', 'cpu']
    assert main([*argv, '--report', 'page.html']) == 0
    told = capsys.readouterr().out
    assert 'asked for: at most 50.00% of the good images raise an alarm; alarm above' in told
    assert 'resemble each other' not in told
    assert 'test: defective images with an alarm: ' in told and ' of 3 (' in told
    point = OperatingPoint.load(tmp_path / 'threshold.json')
    assert point.checkpoint == 'trained.pth' and point.classes
    assert point.is_for(Path('trained.pth')) and not point.is_for(Path('config.py'))
    assert point.validation.false_alarms.images == point.test.recall.images == 3
    assert point.validation.false_alarms.hits <= 1
    fewer = 'test_dataloader.dataset.indices=[1, 4, 5]'
    assert main([*argv, '--out', 'fewer.json', '--cfg-options', fewer]) == 0
    few = OperatingPoint.load(tmp_path / 'fewer.json').test
    assert (few.false_alarms.images, few.recall.images) == (1, 2)
    page = (tmp_path / 'page.html').read_text()
    missed = point.test.recall.images - point.test.recall.hits
    assert f'Missed (test images): {missed}' in page and '<svg' in page
    wrong = missed + point.test.false_alarms.hits
    assert page.count('data:image/jpeg') == wrong and str(tmp_path) not in page
    assert not list(tmp_path.glob('work*'))
    assert main(argv) == 2 and 'threshold.json exists' in capsys.readouterr().err


def test_scores_are_those_of_images_alone(tmp_path, monkeypatch, at_scores):
    monkeypatch.chdir(tmp_path)
    cfg = project(detection_config, tmp_path, ('val',))
    cfg.val_dataloader.batch_size = 6
    cfg.val_dataloader.dataset.pipeline[1].keep_ratio = True
    for name in ('dataloader', 'cfg', 'evaluator'):
        cfg[f'test_{name}'] = cfg[f'val_{name}']
    cfg.test_cfg = dict(type='TestLoop')
    cfg.dump('config.py')
    pictures = sorted((tmp_path / 'val').rglob('[0-5].*'))
    pictures = [path for path in pictures if path.parent.name != 'map' and path.suffix != '.json']
    for i, path in enumerate(pictures):  # each of a size of its own
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (40 + 24 * i, 160 - 16 * i)))
    argv = ['config.py', 'trained.pth', '--max-false-alarms', '0.5', '--device', 'cpu']
    assert main(argv) == 0
    predictor = mkbackbones.Predictor('config.py', 'trained.pth', device='cpu')
    scores = [one.score for one in predictor(pictures)]
    assert len(set(scores)) == 6
    threshold = OperatingPoint.load(tmp_path / 'threshold.json').threshold
    assert min(abs(threshold - score) for score in scores) < 1e-6


def test_images_of_validation_are_no_test(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = project(segmentation_config, tmp_path, ('val',))
    for name in ('dataloader', 'cfg', 'evaluator'):
        cfg[f'test_{name}'] = cfg[f'val_{name}']
    cfg.test_cfg = dict(type='TestLoop')
    cfg.dump('config.py')
    argv = ['config.py', 'trained.pth', '--min-recall', '0.5', '--out', 'x.json', '--device', 'cpu']
    assert main(argv) == 0
    assert 'are those of validation' in capsys.readouterr().out
    assert OperatingPoint.load(tmp_path / 'x.json').test is None


def test_no_test_images_and_few_groups_are_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project(detection_config, tmp_path, ('val',))
    groups = {str(i): 'one part' for i in range(6)}
    (tmp_path / 'val/groups.json').write_text(json.dumps(groups))
    argv = ['config.py', 'trained.pth', '--max-false-alarms', '0.25', '--device', 'cpu']
    assert main([*argv, '--report', 'page.html']) == 0
    told = capsys.readouterr().out
    assert 'has no test images' in told and 'are of 1 groups' in told
    page = (tmp_path / 'page.html').read_text()
    assert 'looks better than it is' in page and 'are of 1 groups' in page


def test_a_checkpoint_of_something_else_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project(detection_config, tmp_path)
    content = torch.load('trained.pth')
    state = {n: v for n, v in content['state_dict'].items() if not n.startswith('rpn_head')}
    torch.save({'state_dict': state}, 'trained.pth')
    assert main(['config.py', 'trained.pth', '--min-recall', '0.5', '--device', 'cpu']) == 2
    assert 'weights are missing' in capsys.readouterr().err
    assert not list(tmp_path.glob('*.json'))


@pytest.mark.parametrize(
    'argv, told',
    [
        (['--max-false-alarms', '1.5'], 'above 0 and below 1'),
        (['--max-false-alarms', '0.01'], 'it takes at least 99 good ones'),
        (['--min-recall', '0.85'], '3 defective validation images cannot tell'),
        (['--min-recall', '0.5', '--out', 'x.txt'], 'end with .json'),
        (['--min-recall', '0.5', '--report', 'gone/x.html'], 'there is no folder'),
    ],
)
def test_what_cannot_be_is_told(argv, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project(segmentation_config, tmp_path)
    assert main(['config.py', 'trained.pth', '--device', 'cpu', *argv]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.glob('*.json'))


def test_lines_of_the_page_of_thresholds(tmp_path, monkeypatch):
    """docs/thresholds.md, with more images than the tiny data sets have."""
    monkeypatch.chdir(tmp_path)
    project(segmentation_config, tmp_path)
    (tmp_path / 'config.py').rename('my_config.py')
    (tmp_path / 'trained.pth').rename('epoch_12.pth')
    rng = np.random.default_rng(0)
    files = [tmp_path / f'val/img/{i % 6}.png' for i in range(400)]

    def many(self, model):
        score, defective = rng.random(400), np.arange(400) < 200
        truth = (
            defective[:, None]
            & np.eye(len(self.defects), dtype=bool)[np.arange(400) % len(self.defects)]
        )
        groups = [f'{i}' for i in range(400)]
        by_class = rng.random(truth.shape) + truth
        return Looked(score + defective, defective, groups, files, self.defects, by_class, truth)

    monkeypatch.setattr(Split, 'look', many)
    monkeypatch.setattr(calibrate_threshold, 'check_number', lambda *args: None)
    lines = [words for name, words in DOCUMENTED.items() if name.startswith('thresholds.md: ')]
    assert len(lines) == 6
    for name in ('model_int8.onnx', 'model.pt2'):
        Path(name).write_bytes(b'a file')
    monkeypatch.setattr(threshold_images, 'open_file', lambda *args: None)
    monkeypatch.setattr(calibrate_threshold, 'check_notes', lambda path: None)
    for words in lines:
        assert main([*words[1:], '--device', 'cpu']) == 0
    assert Path('threshold.html').is_file() and Path('line3.json').is_file()
    assert OperatingPoint.load(Path('classes.json')).by_class is not None
    assert OperatingPoint.load(Path('int8.json')).checkpoint == 'model_int8.onnx'
    assert OperatingPoint.load(Path('program.json')).is_of_export
    assert OperatingPoint.load(Path('tiles.json')).tiles == Tiles(1024, 128)
