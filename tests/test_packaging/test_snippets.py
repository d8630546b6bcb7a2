"""The Python of the docs runs as it stands, with small things in the places of the reader's own.
Blocks of docs/configs.md are tested with the configs, a key of one's own with the README."""

import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, HOOKS, MODELS, DefaultScope

from mkbackbones import Predictor
from mkbackbones.commands import export
from mkbackbones.datasets import SyntheticDefects, write_dataset
from mkbackbones.datasets.public.deep_pcb import DeepPcb
from mkbackbones.engine import ChartSparsityHook, DistillHook
from mkbackbones.export import operators

from ..test_backbones.common import tiny_vit
from ..test_compress.test_fold_calibrated import BATCHES, Network
from ..test_datasets.fakes import write_tree
from ..test_datasets.test_public.layouts import deep_pcb
from ..test_export.shared import exported

ROOT = Path(__file__).resolve().parents[2]
NANO = str(ROOT / 'configs/demo/faster-rcnn_swin-nano-spatial.py')


def blocks(page):
    return re.findall(r'```python\n(.*?)```', (ROOT / page).read_text(encoding='utf-8'), re.S)


def run(block, **given):
    """What a block has defined, with what it takes for granted."""
    names = dict(given)
    exec(compile(block, 'a block of the docs', 'exec'), names)
    return names


@pytest.mark.parametrize('page', ['README.md', 'docs/swap.md'])
def test_the_backbone_in_one_dict(page):
    (block,) = (block for block in blocks(page) if block.startswith('custom_imports'))
    model = run(block)['model']
    backbone = {k: v for k, v in model['backbone'].items() if k not in ('_delete_', 'init_cfg')}
    maps = MODELS.build(backbone)(torch.zeros(1, 3, 32, 32))
    assert [one.shape[1] for one in maps] == model['neck']['in_channels']


def test_the_swap_from_python():
    (block,) = (block for block in blocks('docs/swap.md') if 'swap_backbone' in block)
    cfg = Config.fromfile(NANO)
    swap = run(block, cfg=cfg)['swap']
    assert swap.cfg.model.backbone.arch == 'tiny' != cfg.model.backbone.arch
    assert swap.changes


def test_a_data_set_of_ones_own_converter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = blocks('docs/data.md')
    run(block, converter=SyntheticDefects(dict(train=8, val=2), size=64))
    assert Path('data/line1/dataset.json').is_file()


def test_the_loader_of_deep_pcb(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_dataset(DeepPcb(write_tree(tmp_path / 'raw', deep_pcb())), Path('data/deep-pcb'))
    (block,) = blocks('docs/data-sets.md')
    assert len(DATASETS.build(run(block)['train_dataloader']['dataset'])) > 0


def test_fewer_charts():
    prune, hook, distil = blocks('docs/compress.md')
    model = Network(tiny_vit, dict(type='SpatialK', num_charts=2))
    found = run(prune, model=model, batches=BATCHES)['found']
    assert sum(each.after for each in found) * 2 <= sum(each.before for each in found)
    for config in run(hook)['custom_hooks']:
        assert isinstance(HOOKS.build(config), ChartSparsityHook)
    for config in run(distil)['custom_hooks']:
        assert isinstance(HOOKS.build(config), DistillHook)


@pytest.mark.slow
def test_deployment_of_maps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    *_, with_runtime, with_torch = blocks('docs/deploy.md')
    cfg = Config.fromfile(NANO)
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MODELS.build(cfg.model).eval()
    torch.save(dict(state_dict=detector.state_dict(), meta=dict()), 'run.pth')
    assert export.main([NANO, 'run.pth', 'maps.onnx', '--part', 'neck']) == 0
    picture = next(iter_pictures(tmp_path))
    picture.rename('image.png')
    found = run(with_runtime)
    images = torch.from_numpy(found['images'])
    program = run(with_torch, detector=detector, torch=torch, images=images)
    assert Path('detector.pt2').is_file()
    for one, other in zip(found['maps'], program['maps'], strict=True):
        torch.testing.assert_close(torch.from_numpy(one), other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize('kind', ['segformer', pytest.param('faster-rcnn', marks=pytest.mark.slow)])
def test_the_consumer_of_a_program_finds_what_predict_finds(
    kind, tmp_path, monkeypatch, capsys, tmp_path_factory
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    (block,) = (block for block in blocks('docs/deploy.md') if "'model.pt2'" in block)
    imported = {line.split()[1] for line in block.splitlines() if line.startswith('import')}
    assert imported == {'json', 'cv2', 'torch', 'operators'}
    config, checkpoint = take(exported(kind, 'model.pt2', tmp_path_factory), tmp_path)
    monkeypatch.setitem(sys.modules, 'operators', operators)  # a copy: tests/test_export
    found = run(block)['found']
    (wanted,) = Predictor(config, checkpoint, device='cpu')('image.png')
    assert capsys.readouterr().out.startswith('alarm' if wanted.score > 0.5 else 'good')
    assert found['score'] == pytest.approx(wanted.score, abs=1e-3)
    if wanted.class_map is not None:
        assert (found['class_map'] == wanted.class_map).mean() > 0.999
        return
    scores = [instance.score for instance in wanted.instances]
    assert found['scores'][found['labels'] >= 0] == pytest.approx(scores, abs=1e-3)


@pytest.mark.parametrize('kind', ['faster-rcnn', 'segformer'])
def test_the_consumer_finds_what_predict_finds(
    kind, tmp_path, monkeypatch, capsys, tmp_path_factory
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    block, *_ = blocks('docs/deploy.md')
    lines = [line for line in block.splitlines() if line]
    assert len(lines) <= 40
    imported = {line.split()[1] for line in lines if line.startswith('import')}
    assert imported == {'json', 'cv2', 'numpy', 'onnxruntime'}
    config, checkpoint = take(exported(kind, 'model.onnx', tmp_path_factory), tmp_path)
    found = run(block)['found']
    told = capsys.readouterr().out
    (wanted,) = Predictor(config, checkpoint, device='cpu')('image.png')
    assert Path('found.png').is_file()
    assert ('alarm' in told) == (kind == 'segformer' or wanted.score > 0.5)
    assert found['score'] == pytest.approx(wanted.score, abs=1e-3)
    if wanted.class_map is not None:
        assert (found['class_map'] == wanted.class_map).mean() > 0.999
        assert told.count('pixels') == 3
        assert re.match(r'alarm [\d.]+ crack\n', told)
        return
    scores = [instance.score for instance in wanted.instances]
    assert found['scores'][found['labels'] >= 0] == pytest.approx(scores, abs=1e-3)
    boxes = [[x, y, x + width, y + height] for x, y, width, height in
             (instance.box for instance in wanted.instances)]  # fmt: skip
    np.testing.assert_allclose(found['boxes'][found['labels'] >= 0], boxes, atol=0.1)


def test_damaged_pictures_are_told(tmp_path, monkeypatch):
    """OpenCV alone gives a whole picture of half a JPEG."""
    monkeypatch.chdir(tmp_path)
    (block,) = (each for each in blocks('docs/deploy.md') if 'def read(path)' in each)
    read = run(block)['read']
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    for name in ('whole.jpg', 'whole.png', 'whole.bmp'):
        cv2.imwrite(name, pixels)
        assert (read(name) == cv2.imread(name)).all()
        half = Path(name).read_bytes()[: Path(name).stat().st_size // 2]
        Path(f'half{Path(name).suffix}').write_bytes(half)
    assert cv2.imread('half.jpg') is not None
    Path('empty.png').touch()
    Path('text.png').write_text('no picture')
    for name in ('half.jpg', 'half.png', 'empty.png', 'text.png'):
        with pytest.raises(ValueError, match=f'{name} is damaged'):
            read(name)


def take(made, folder):
    """Copies of an exported model, of the module of its config and of a picture."""
    for file, name in ((made.file, made.file.name), (made.folder / 'mk_tiny.py', 'mk_tiny.py'),
                       (made.folder / 'pictures/0.png', 'image.png')):  # fmt: skip
        shutil.copy(file, folder / name)
    return made.given


def iter_pictures(folder):
    write_dataset(SyntheticDefects(dict(train=1), size=128), folder / 'data')
    return (folder / 'data/images').rglob('*.*')
