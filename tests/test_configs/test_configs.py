"""The shipped configs: they parse, name what exists, build, and train on a few images."""

from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mkbackbones.datasets import SyntheticDefects
from mkbackbones.datasets.writer import write_dataset
from mkbackbones.keys import build_key
from mkbackbones.study import count_cost

from .zoo import (
    CONFIGS,
    ROOT,
    classes_of,
    load,
    make_backbone_small,
    make_heads_small,
    make_small,
    read,
)

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
KEYS = {
    'stock': None,
    'spatial': 'SpatialK',
    'vanilla': 'VanillaK',
}
ARCHS = {'t': 'tiny', 's': 'small', 'b': 'base'}


def test_every_folder_is_tested_somewhere():
    """Here, in test_own_data.py, with classification, or with studies."""
    folders = {p.name for p in ROOT.iterdir() if p.is_dir()} - {'__pycache__'}
    known = {'_base_', 'classification', 'demo', 'detection', 'own', 'segmentation', 'studies'}
    assert folders <= known


def test_names_are_unique():
    """mim and our commands look a config up by its bare name."""
    names = [p.name for p in ROOT.rglob('*.py') if not {'_base_', 'studies'} & set(p.parts)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize('name', [n for n in CONFIGS if not n.startswith('demo/')])
def test_a_config_is_what_its_name_says(name):
    cfg = load(name)
    assert cfg.custom_imports['imports'] == ['mkbackbones']
    assert (
        cfg.default_scope == dict(detection='mmdet', segmentation='mmseg')[Path(name).parent.name]
    )
    _, backbone, data = Path(name).name.split('_')
    family, size, key = backbone.split('-')
    kind = dict(swin='Swin', swinv2='SwinV2', vit='ViT', dinov3='DINOv3')[family]
    assert cfg.model.backbone.type == f'mkbackbones.Manifold{kind}'
    assert cfg.model.backbone.arch == ARCHS[size]
    key_cfg = cfg.model.backbone.get('key_cfg')
    assert (key_cfg and key_cfg.type) == KEYS[key]
    assert (
        data.removesuffix('-3x').replace('ade20k', 'ade') in cfg.train_dataloader.dataset.data_root
    )
    pretrained = 'init_cfg' in cfg.model.backbone
    assert pretrained == (data in ('coco', 'coco-3x', 'ade20k'))


@pytest.mark.parametrize('name', CONFIGS)
def test_heads_have_the_classes_of_the_data(name):
    cfg = load(name)
    classes = classes_of(cfg)
    counts = list(find('num_classes', cfg.model))
    assert counts and set(counts) == {len(classes)}
    for weights in find('class_weight', cfg.model):
        assert len(weights) in (len(classes), len(classes) + 1)  # with Mask2Former's 'no object'


def find(key, node):
    """The values of a key anywhere in a config."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from find(key, value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from find(key, value)


@pytest.mark.parametrize('name', [n for n in CONFIGS if '-stock_' in n and 'demo' not in n])
def test_pretrained_weights_exist(name):
    """No download: timm lists what it offers."""
    checkpoint = load(name).model.backbone.get('init_cfg', {}).get('checkpoint')
    if checkpoint is not None:
        assert checkpoint.removeprefix('timm://') in timm.list_models(pretrained=True)


@pytest.mark.parametrize(
    'path', sorted((ROOT / '_base_' / 'keys').glob('*.py')), ids=lambda p: p.stem
)
def test_keys_build(path):
    with torch.device('meta'):
        build_key(Config.fromfile(path).key_cfg.to_dict(), 96)


@pytest.mark.parametrize(
    'name',
    [
        'detection/mask-rcnn_swin-t-spatial_synthetic',
        'segmentation/upernet_vit-s-vanilla_synthetic',
    ],
)
def test_runner_trains_and_validates(name, tmp_path, monkeypatch):
    """From prepared data to metrics: the real config, its widths reduced, for two iterations."""
    write_dataset(SyntheticDefects(dict(train=4, val=2, test=2), size=64), tmp_path / 'synthetic')
    monkeypatch.setenv('MKBACKBONES_DATA', str(tmp_path))
    cfg = read(name)
    cfg.work_dir = str(tmp_path)
    shrink(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert all(p.isfinite().all() for p in runner.model.parameters())
    assert runner.val()
    assert count_cost(runner.model.backbone, (64, 64)).flops > 0


def shrink(cfg):
    """Reduce widths and sizes, nothing else."""
    make_backbone_small(cfg)
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.param_scheduler = []
    make_small(cfg, 64)
    make_heads_small(cfg)
