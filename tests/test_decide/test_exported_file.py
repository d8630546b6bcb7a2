"""Thresholds of an exported file: chosen by its own scores, and of no other file."""

import hashlib
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from mmengine.config import Config

pytest.importorskip('onnxruntime')

from mkbackbones import Predictor
from mkbackbones.commands import export
from mkbackbones.commands.calibrate_threshold import main
from mkbackbones.decide.by_class import decide_by_class
from mkbackbones.decide.operating_point import OperatingPoint, digest_of
from mkbackbones.decide.thresholds import Wish
from mkbackbones.export.run import open_exported

from ..test_export.shared import exported
from ..test_export.tiny import write_model
from .test_by_class import point_of, scored

NAMES = ('crack', 'dent', 'pit')


def write_data(folder, is_det):
    """Eight images, the first three good, the others with a square of one class each."""
    rng = np.random.default_rng(len(folder.name))
    for name in ('img', 'map'):
        (folder / name).mkdir(parents=True)
    coco = dict(images=[], annotations=[], categories=[])
    coco['categories'] = [dict(id=i + 1, name=name) for i, name in enumerate(NAMES)]
    for i in range(8):
        coarse = rng.integers(0, 256, (7, 10, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'img/{i}.png'), cv2.resize(coarse, (90, 60 + 4 * (i % 2))))
        label = 0 if i < 3 else 1 + i % 2
        truth = np.zeros((60 + 4 * (i % 2), 90), np.uint8)
        truth[10:30, 20:50] = label
        cv2.imwrite(str(folder / f'map/{i}.png'), truth)
        coco['images'].append(dict(id=i, file_name=f'{i}.png', height=len(truth), width=90))
        if label:
            box = dict(bbox=[20, 10, 30, 20], area=600, iscrowd=0)
            coco['annotations'].append(dict(id=i, image_id=i, category_id=label, **box))
    (folder / 'coco.json').write_text(json.dumps(coco))


def project(folder, kind, factory, file='model.onnx'):
    """A config with data, a checkpoint, and the file that its model is exported to."""
    config, checkpoint = write_model(folder, kind)
    cfg = Config.fromfile(config)
    is_det = cfg.default_scope == 'mmdet'
    for split in ('val', 'test'):
        write_data(folder / split, is_det)
        dataset = cfg.test_dataloader.dataset.to_dict()
        dataset['data_root'] = str(folder / split)
        if is_det:
            dataset.update(ann_file='coco.json', data_prefix=dict(img='img/'), test_mode=True)
        else:
            dataset.update(
                data_prefix=dict(img_path='img', seg_map_path='map'),
                img_suffix='.png', seg_map_suffix='.png',
            )  # fmt: skip
        sampler = dict(type='DefaultSampler', shuffle=False)
        loader = dict(batch_size=2, num_workers=0, sampler=sampler, dataset=dataset)
        cfg[f'{split}_dataloader'] = loader
        metric = dict(type='CocoMetric', metric='bbox', ann_file=f'{folder}/{split}/coco.json')
        cfg[f'{split}_evaluator'] = metric if is_det else dict(type='IoUMetric')
        cfg[f'{split}_cfg'] = dict(type=f'{split.capitalize()}Loop')
    cfg.dump('my_config.py')
    Path(checkpoint).rename('epoch_12.pth')
    shutil.copy(exported(kind, file, factory).file, file)
    return ['my_config.py', 'epoch_12.pth']


@pytest.mark.parametrize(
    'kind, file',
    [
        ('segformer', 'model.onnx'),
        pytest.param('faster-rcnn', 'model.onnx', marks=pytest.mark.slow),
        pytest.param('segformer', 'model.pt2', marks=pytest.mark.slow),
        pytest.param('faster-rcnn', 'model.pt2', marks=pytest.mark.slow),
    ],
)
def test_the_threshold_is_that_of_the_file(
    kind, file, tmp_path, monkeypatch, capsys, tmp_path_factory, at_scores
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    given = project(tmp_path, kind, tmp_path_factory, file)
    asked = ['--max-false-alarms', '0.4', '--per-class', 'dent=0.25', '--report', 'page.html']
    capsys.readouterr()
    assert main(['my_config.py', file, *asked]) == 0
    told = capsys.readouterr().out
    assert 'by class' in told and 'any class, test: good images with an alarm: ' in told
    point = OperatingPoint.load(Path('threshold.json'))
    content = Path(file).read_bytes()
    assert point.checkpoint == file and point.is_of_export
    assert point.digest == hashlib.sha256(content).hexdigest()[:16]
    assert [each.wish.share for each in point.by_class.points][:2] in ([0.4, 0.25], [0.25, 0.4])
    # The model itself finds the same, to what export allows.
    assert main([*given, *asked, '--out', 'other.json', '--device', 'cpu', '--force']) == 0
    other = OperatingPoint.load(Path('other.json'))
    assert point.threshold == pytest.approx(other.threshold, abs=2e-3)
    limits = point.by_class.limits
    assert limits == pytest.approx(other.by_class.limits, abs=2e-3)
    assert not other.is_of_export
    # And they are scores of good validation images, as those that use them see them.
    opened, predictor = open_exported(Path(file)), Predictor(*given, device='cpu')
    paths = [f'val/img/{i}.png' for i in range(3)]
    found = [opened([cv2.imread(path)]) for path in paths]
    assert any(point.threshold == pytest.approx(float(each['score'][0])) for each in found)
    for outputs, wanted in zip(found, predictor(paths)):
        np.testing.assert_allclose(outputs['class_scores'][0], wanted.class_scores, atol=1e-3)
    for name, limit in limits.items():
        place = opened.notes['classes'].index(name)
        assert any(limit == pytest.approx(float(each['class_scores'][0, place])) for each in found)
    page = Path('page.html').read_text()
    assert 'A threshold for each class' in page and page.count('<svg') == 2
    # It is that of no other file.
    again = [*given, 'second.onnx', '--threshold', 'threshold.json', '--images', 'val/img']
    assert export.main(again) == 2
    assert f'chosen for the exported file {file}' in capsys.readouterr().err


def test_other_files_are_told(tmp_path, monkeypatch, capsys, tmp_path_factory):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    project(tmp_path, 'segformer', tmp_path_factory)
    asked = ['--max-false-alarms', '0.4']
    Path('broken.onnx').write_bytes(b'no model')
    text = Path('my_config.py').read_text()
    Path('others.py').write_text(re.sub("'dent'", "'bump'", text))
    export.main(['my_config.py', 'epoch_12.pth', 'maps.onnx', '--part', 'backbone'])
    stripped = onnx.load('model.onnx')
    kept = [entry for entry in stripped.metadata_props if entry.key != 'resize']
    del stripped.metadata_props[:]
    stripped.metadata_props.extend(kept)
    onnx.save(stripped, 'stripped.onnx')
    for words, message in (
        (['my_config.py', 'stripped.onnx'], 'lacks the note resize'),
        (['my_config.py', 'gone.onnx'], 'gone.onnx'),
        (['my_config.py', 'broken.onnx'], 'cannot be read as an exported file'),
        (['my_config.py', 'maps.onnx'], 'is no whole model of export'),
        (['others.py', 'model.onnx'], 'is for the classes background, crack, dent; the config'),
        (['my_config.py', 'model.onnx', '--device', 'cuda'], 'runs in onnxruntime on the CPU'),
        (['my_config.py', 'model.onnx', '--per-class', 'dnt=0.1'], "did you mean 'dent'?"),
        (['my_config.py', 'model.onnx', '--per-class', 'dent'], 'is no CLASS=SHARE'),
        (['my_config.py', 'model.onnx', '--per-class', 'dent=2'], 'above 0 and below 1'),
    ):
        capsys.readouterr()
        assert main([*words, *asked]) == 2, words
        assert message in capsys.readouterr().err
    assert not list(Path().glob('*.json'))


def test_a_consumer_asks_whether_the_threshold_is_that_of_its_file(tmp_path, monkeypatch):
    """The second block of docs/deploy.md, with a file whose scores nobody asks for here."""
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / 'docs/deploy.md').read_text(encoding='utf-8')
    (block,) = (b for b in re.findall(r'```python\n(.*?)```', text, re.S) if 'hashlib' in b)
    Path('model.onnx').write_bytes(b'a model')
    found = decide_by_class(dict(validation=scored()), Wish(min_recall=0.9), {})
    point = replace(
        point_of(found, Wish(min_recall=0.9)),
        checkpoint='model.onnx',
        digest=digest_of(Path('model.onnx')),
    )
    for each in (point, replace(point, by_class=None)):
        each.save(Path('threshold.json'))
        names = dict(notes=dict(resize=None, alarm_above=0.1))
        exec(compile(block, 'docs/deploy.md', 'exec'), names)
        assert names['notes']['alarm_above'] == 0.5 and names['notes']['resize'] is None
        limits = names['notes'].get('alarm_above_by_class')
        assert limits == ({} if each.by_class is None else found.limits)
    Path('model.onnx').write_bytes(b'another model')
    with pytest.raises(SystemExit, match='chosen for another file than model'):
        exec(compile(block, 'docs/deploy.md', 'exec'), {})
