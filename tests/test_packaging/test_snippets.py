"""The Python of the docs runs as it stands, with small things in the places of the reader's own.
Blocks of docs/configs.md are tested with the configs, a key of one's own with the README."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, HOOKS, MODELS, DefaultScope

from mkbackbones.commands import export_onnx
from mkbackbones.datasets import SyntheticDefects, write_dataset
from mkbackbones.datasets.public.deep_pcb import DeepPcb
from mkbackbones.engine import ChartSparsityHook, DistillHook

from ..test_backbones.common import tiny_vit
from ..test_compress.test_fold_calibrated import BATCHES, Network
from ..test_datasets.fakes import write_tree
from ..test_datasets.test_public.layouts import deep_pcb

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
def test_deployment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with_runtime, with_torch = blocks('docs/deploy.md')
    cfg = Config.fromfile(NANO)
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MODELS.build(cfg.model).eval()
    torch.save(dict(state_dict=detector.state_dict(), meta=dict()), 'run.pth')
    assert export_onnx.main([NANO, 'run.pth', 'detector.onnx']) == 0
    picture = next(iter_pictures(tmp_path))
    picture.rename('image.png')
    found = run(with_runtime)
    images = torch.from_numpy(found['images'])
    program = run(with_torch, detector=detector, torch=torch, images=images)
    assert Path('detector.pt2').is_file()
    for one, other in zip(found['maps'], program['maps'], strict=True):
        torch.testing.assert_close(torch.from_numpy(one), other, atol=1e-4, rtol=1e-3)


def iter_pictures(folder):
    write_dataset(SyntheticDefects(dict(train=1), size=128), folder / 'data')
    return (folder / 'data/images').rglob('*.*')
