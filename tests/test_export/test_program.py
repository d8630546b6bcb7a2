"""Whole models as programs of ``torch.export``: they find and say what the model finds."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mkbackbones import Predictor
from mkbackbones.commands import threshold_images
from mkbackbones.commands.errors import CommandError
from mkbackbones.commands.export import main
from mkbackbones.commands.threshold_images import open_file
from mkbackbones.export import operators
from mkbackbones.export.check import check_file
from mkbackbones.export.program import ExportError
from mkbackbones.export.run import SavedProgram, data_alone

from . import shared
from .tiny import KINDS, write_model, write_pictures

DETECTORS = [kind for kind, (_, _, out_indices) in KINDS.items() if out_indices]
#: One of each way through; the others take minutes together.
FAST = ('mask-rcnn', 'segformer')
#: What another process does, which has torch, and where that is said a copy of our operators.
LOAD = """
import sys
import numpy, torch
for name in ('mkbackbones', 'mmcv', 'mmdet', 'mmengine', 'mmseg', 'timm', 'onnx'):
    sys.modules[name] = None  # cannot be imported
if {copied}:
    import operators
module = torch.export.load('model.pt2').module(check_guards=False)
images, size = torch.from_numpy(numpy.load('images.npy')), torch.tensor([80, 130])
numpy.savez('found.npz', *module(images, size))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    write_pictures(tmp_path / 'pictures')
    return tmp_path


@pytest.mark.parametrize(
    'kind', [k if k in FAST else pytest.param(k, marks=pytest.mark.slow) for k in KINDS]
)
def test_a_program_finds_what_the_model_finds(kind, folder, tmp_path_factory, monkeypatch):
    made, given, file, told = shared.exported(kind, 'model.pt2', tmp_path_factory)
    sys.path.insert(0, str(made))  # the fixture takes it away
    shutil.copy(file, 'model.pt2')
    assert 'model.pt2: the whole model' in told and 'torch on 6 pictures' in told
    classes = ['crack', 'dent', 'pit'] if kind in DETECTORS else ['background', 'crack', 'dent']
    taken = open_file('model.pt2', classes, by_class=True)  # as calibrate-threshold does
    program = taken.exported
    assert isinstance(program, SavedProgram)
    assert program.notes['resize'] == dict(scale=[96, 64], keep_ratio=True)
    assert program.notes['classes'] == classes and 'INTER_LINEAR' in program.notes['how']
    paths = sorted((folder / 'pictures').iterdir())
    outcomes = list(Predictor(*given, device='cpu').outcomes(paths))
    agreement = check_file(program, outcomes)
    assert agreement.maps or agreement.boxes
    monkeypatch.setattr(threshold_images, 'FileModel', lambda path: taken)  # reading takes seconds
    with pytest.raises(CommandError, match='is for the classes'):
        open_file('model.pt2', classes[:2], by_class=True)
    content = Path('model.pt2').read_bytes()
    for place in (made, Path(torch.__file__).parent, Path(operators.__file__).parents[2]):
        assert str(place).encode() not in content  # nothing of this machine
    # A process that knows nothing of the project finds the same.
    detects = program.notes['kind'] == 'detection'
    assert detects == (kind in DETECTORS)
    pictures = [cv2.imread(str(path)) for path in paths[:2]]
    np.save('images.npy', np.stack([program.resized(picture) for picture in pictures]))
    shutil.copy(operators.__file__, 'operators.py')
    code = LOAD.format(copied=detects)
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)
    with np.load('found.npz') as found:
        for (name, wanted), other in zip(program(pictures).items(), found.values(), strict=True):
            assert np.array_equal(wanted, other), name
    outcomes[0].pixels = cv2.imread(str(paths[2]))
    with pytest.raises(ExportError, match='picture 1 of 3'):
        check_file(program, outcomes)


def test_a_program_that_finds_something_else_is_not_written(
    folder, capsys, monkeypatch, tmp_path_factory
):
    """Here that of a model whose weights are a little different."""
    made = shared.exported('segformer', 'model.pt2', tmp_path_factory)
    monkeypatch.setattr(
        'mkbackbones.export.model.write_model',
        lambda whole, path, *others: shutil.copy(made.file, path),
    )
    given = write_model(folder, 'segformer')
    content = torch.load(given[1])
    content['state_dict']['decode_head.conv_seg.weight'] *= -1
    torch.save(content, given[1])
    assert main([*given, 'model.pt2', '--images', 'pictures']) == 2
    assert 'nothing was written' in capsys.readouterr().err
    assert not list(folder.glob('*.pt2')) and not list(folder.glob('.*partial'))


def test_without_onnx_and_with_a_threshold(folder, monkeypatch, tmp_path_factory):
    from mkbackbones.decide.operating_point import OperatingPoint
    from mkbackbones.decide.thresholds import Outcome, Wish

    made = shared.exported('segformer', 'model.pt2', tmp_path_factory)  # without ONNX, too
    shared.hide_onnx(monkeypatch)
    program = torch.export.load(made.file)  # tracing takes longer
    monkeypatch.setattr('mkbackbones.export.model.trace', lambda *args: program)
    given = write_model(folder, 'segformer')
    classes = ['background', 'crack', 'dent']
    OperatingPoint(0.7, Wish(0.1), classes, 'segformer.pth', Outcome(None, None)).save(
        folder / 'threshold.json'
    )
    words = ['--images', 'pictures', '--threshold', 'threshold.json']
    assert main([*given, 'model.pt2', *words]) == 0
    texts = {'notes.json': ''}
    torch.export.load('model.pt2', extra_files=texts)
    assert json.loads(texts['notes.json'])['alarm_above'] == 0.7


@pytest.mark.parametrize(
    'words, told',
    [
        (['model.pt'], 'model.pt has to end with .onnx or .pt2'),
        (['model.pt2', '--int8'], 'model.pt2 is in float32'),
        (['model.pt2', '--fp16'], 'model.pt2 is in float32'),
        (['model.pt2', '--part', 'neck'], 'model.pt2 is for whole models'),
    ],
)
def test_what_no_program_is_told_at_once(words, told, folder, capsys):
    assert main(['none.py', 'none.pth', *words]) == 2
    assert told in capsys.readouterr().err


def test_files_that_are_no_programs_of_ours_are_told(folder, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    torch.save(dict(weight=torch.zeros(2)), 'model.pt2')
    Path('text.pt2').write_text('no program')
    for name in ('model.pt2', 'text.pt2'):
        with pytest.raises(CommandError, match=r'no notes\.json, which export writes'):
            open_file(name, ['crack'], by_class=False)
    torch.save(dict(code=write_pictures), 'code.pt')  # a function, found by its name
    with data_alone(), pytest.raises(pickle.UnpicklingError):
        torch.load('code.pt', weights_only=False)
    assert torch.load('code.pt')['code'] is write_pictures
