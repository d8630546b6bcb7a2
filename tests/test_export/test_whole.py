"""Whole models as one file: what is found with it in onnxruntime is what the model finds."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mkbackbones import Predictor
from mkbackbones.commands.export import main
from mkbackbones.export.check import check_file
from mkbackbones.export.program import ExportError
from mkbackbones.export.run import ExportedModel

from . import shared
from .tiny import KINDS, write_model, write_pictures


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    write_pictures(tmp_path / 'pictures')
    return tmp_path


#: One of each way through; the others take minutes together.
FAST = ('retinanet', 'faster-rcnn', 'segformer')


@pytest.mark.parametrize(
    'kind', [k if k in FAST else pytest.param(k, marks=pytest.mark.slow) for k in KINDS]
)
def test_a_file_finds_what_the_model_finds(kind, monkeypatch, tmp_path_factory):
    folder, given, file, told = shared.exported(kind, 'model.onnx', tmp_path_factory)
    monkeypatch.syspath_prepend(folder)
    assert 'the whole model' in told
    exported = ExportedModel(file)
    (images,) = (each for each in exported.session.get_inputs() if each.name == 'images')
    assert images.shape == ['batch', 'height', 'width', 3]
    assert len(exported.notes['classes']) == 3
    assert 'INTER_LINEAR' in exported.notes['how']
    assert exported.notes['resize'] == dict(scale=[96, 64], keep_ratio=True)
    predictor = Predictor(*given, device='cpu')
    paths = sorted((folder / 'pictures').iterdir())
    pictures = [cv2.imread(str(path)) for path in paths]
    outcomes = list(predictor.outcomes(paths))
    check_file(exported, outcomes)
    found = exported(pictures[:2])
    if exported.notes['kind'] == 'segmentation':
        assert len(np.unique(found['class_map'])) > 1
        assert found['class_map'].shape == (2, 80, 130)
        return
    assert (found['labels'] >= 0).sum() > 10
    boxes = found['boxes'][found['labels'] >= 0]
    assert boxes.min() >= 0
    assert (boxes.max(0) <= [130.01, 80.01, 130.01, 80.01]).all()
    assert len(np.unique(found['scores'])) > 10
    if kind == 'mask-rcnn':
        masks = found['masks']
        assert masks.shape == (2, 15, 80, 130)
        assert 0 < masks.mean() < 1
    # Another picture than the one that it was made of is told.
    outcomes[0].pixels = pictures[2]
    with pytest.raises(ExportError, match='picture 1 of 3'):
        check_file(exported, outcomes)


def test_thresholds_of_classes_go_along(tmp_path_factory):
    made = shared.exported('segformer', 'model.onnx', tmp_path_factory)
    notes = ExportedModel(made.file).notes
    assert notes['alarm_above'] == 0.99 and notes['alarm_above_by_class'] == shared.LIMITS


def test_a_threshold_options_of_the_config_and_unreadable_pictures(folder, capsys, monkeypatch):
    from mkbackbones.decide.operating_point import OperatingPoint
    from mkbackbones.decide.thresholds import Outcome, Wish

    given = write_model(folder, 'segformer')
    Path('pictures/0.png').write_bytes(b'no picture')
    point = OperatingPoint(
        0.7, Wish(0.1), ['background', 'crack', 'dent'], 'segformer.pth', Outcome(None, None)
    )
    point.save(folder / 'threshold.json')
    options = ['--cfg-options', 'test_dataloader.dataset.pipeline.1.scale=(64,48)']
    options += ['--threshold', 'threshold.json']
    arguments = [*given, 'model.onnx', '--images', 'pictures', *options]
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert 'not compared: pictures/0.png' in told.err and 'on 5 pictures' in told.out
    notes = ExportedModel(folder / 'model.onnx').notes
    assert notes['resize'] == dict(scale=[64, 48], keep_ratio=True)
    assert notes['alarm_above'] == 0.7 and 'alarm_above_by_class' not in notes
    # Without pictures noise does.
    monkeypatch.setattr(
        'mkbackbones.export.model.write_model',
        lambda whole, path, *others: shutil.copy('model.onnx', path),
    )
    assert main([*given, 'again.onnx', *options]) == 0
    assert 'on noise alone' in capsys.readouterr().out
    for picture in Path('pictures').iterdir():
        picture.write_bytes(b'')
    # Before anything is traced.
    monkeypatch.setattr('mkbackbones.export.model.write_model', None)
    assert main([*arguments, '--force']) == 2
    assert 'none of the 3 pictures can be compared: pictures/0.png' in capsys.readouterr().err
    replace(point, checkpoint='epoch_12.pth').save(folder / 'threshold.json')
    assert main([*arguments, '--force']) == 2
    told = capsys.readouterr().err
    assert 'was chosen for epoch_12.pth, not for' in told and 'calibrate-threshold' in told
    point.save(folder / 'threshold.json')
    text = (folder / 'threshold.json').read_text().replace('dent', 'scratch')
    (folder / 'threshold.json').write_text(text)
    assert main([*arguments, '--force']) == 2
    assert 'is for the classes' in capsys.readouterr().err
    assert main([*given, 'x.onnx', '--cfg-options', 'model.backbone.chanels=4']) == 2
    assert 'chanels' in capsys.readouterr().err


def test_a_file_that_finds_something_else_is_not_written(
    folder, capsys, monkeypatch, tmp_path_factory
):
    """Here that of a model whose weights are a little different."""
    made = shared.exported('retinanet', 'model.onnx', tmp_path_factory)
    monkeypatch.setattr(
        'mkbackbones.export.model.write_model',
        lambda whole, path, *others: shutil.copy(made.file, path),
    )
    config, checkpoint = write_model(folder, 'retinanet')
    asked = [config, checkpoint, 'model.onnx', '--images', 'pictures']
    assert main(asked) == 0  # the same model
    content = torch.load(checkpoint)
    content['state_dict']['bbox_head.retina_reg.weight'] *= 1.3
    torch.save(content, checkpoint)
    Path('model.onnx').unlink()
    capsys.readouterr()
    assert main(asked) == 2
    assert 'nothing was written' in capsys.readouterr().err
    assert not (folder / 'model.onnx').exists()


@pytest.mark.parametrize(
    'old, new, message',
    [
        ("type='Resize'", "interpolation='area', type='Resize'", 'the test pipeline has'),
        ("dict(type='LoadAnnotations', with_bbox=True)", "dict(type='PhotoMetricDistortion')",
         'PhotoMetricDistortion'),
        ('nms_pre=40', "nms_pre=40, nms=dict(type='soft_nms')", 'soft_nms'),
        ('nms_pre=40', 'nms_pre=-1', 'nms_pre has to be above 0'),
        ('model = dict(', "model = dict(data_preprocessor=dict(type='mmengine.ImgDataPreprocessor',"
         ' _delete_=True), ', 'data_preprocessor ImgDataPreprocessor'),
    ],
)  # fmt: skip
def test_what_no_file_does_is_told(old, new, message, folder, capsys):
    config, checkpoint = write_model(folder, 'fcos')
    text = Path(config).read_text()
    assert old in text
    Path(config).write_text(text.replace(old, new))
    assert main([config, checkpoint, 'model.onnx', '--images', 'pictures']) == 2
    assert message in capsys.readouterr().err
    assert not (folder / 'model.onnx').exists()


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda cfg: cfg.model.test_cfg.update(mode='slide'), "mode='slide' moves a window"),
        (lambda cfg: cfg.model.update(type='mmseg.CascadeEncoderDecoder'), 'cannot be built'),
    ],
)
def test_segmentors_that_no_file_does(change, message, folder):
    from mmengine.config import Config

    from mkbackbones.export.model import export_model
    from mkbackbones.runner.errors import InputError

    config, checkpoint = write_model(folder, 'segformer')
    cfg = Config.fromfile(config)
    change(cfg)
    with pytest.raises((ExportError, InputError), match=message):
        export_model(Predictor(cfg, checkpoint, device='cpu'), folder / 'model.onnx')


@pytest.mark.slow
def test_padding_of_the_pipeline_is_in_the_file(folder, capsys):
    config, checkpoint = write_model(folder, 'retinanet')
    text = Path(config).read_text()
    pad = "dict(type='Pad', size=(104, 96), pad_val=dict(img=(114, 114, 114))),"
    text = text.replace(
        "        dict(type='LoadAnnotations'", f"        {pad}\n        dict(type='LoadAnnotations'"
    )
    Path(config).write_text(text)
    assert main([config, checkpoint, 'model.onnx', '--images', 'pictures']) == 0
    assert 'boxes with IoU' in capsys.readouterr().out


@pytest.mark.parametrize('kind', ['segformer', pytest.param('mask-rcnn', marks=pytest.mark.slow)])
def test_openvino_runs_a_file(kind, folder, capsys):
    openvino = pytest.importorskip('openvino', reason='pip install openvino')
    given = write_model(folder, kind)
    assert main([*given, 'model.onnx', '--images', 'pictures']) == 0
    exported = ExportedModel(folder / 'model.onnx')
    pictures = [cv2.imread(f'pictures/{i}.png') for i in (0, 1)]
    wanted = exported(pictures)
    hint = dict(INFERENCE_PRECISION_HINT='f32')  # some CPUs take bfloat16 otherwise
    model = openvino.Core().compile_model('model.onnx', 'CPU', hint)
    images = np.stack([exported.resized(picture) for picture in pictures])
    found = model(dict(images=images, size=np.array([80, 130])))
    for i, (name, value) in enumerate(wanted.items()):
        tolerance = 0.05 if name == 'boxes' else 1e-3
        different = np.abs(found[i].astype(float) - value.astype(float)) > tolerance
        assert different.mean() < 1e-3, name
