"""The shipped configs: they parse, name what exists, build, and train on a few images."""

from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mkbackbones.datasets import SyntheticDefects
from mkbackbones.datasets.catalogue import CATALOGUE
from mkbackbones.datasets.writer import write_dataset
from mkbackbones.keys import build_key
from mkbackbones.study import count_cost

from .zoo import CONFIGS, ROOT, classes_of, load, make_small, read

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
DEFECT_SETS = sorted(
    path.stem
    for path in (ROOT / '_base_' / 'datasets').glob('*.py')
    if not path.stem.startswith(('coco', 'ade20k'))
)
KEYS = {
    'stock': None,
    'spatial': 'SpatialK',
    'vanilla': 'VanillaK',
}
ARCHS = {'t': 'tiny', 's': 'small', 'b': 'base'}


def test_names_are_unique():
    """mim and our commands look a config up by its bare name."""
    names = [Path(name).name for name in CONFIGS]
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
    assert cfg.model.backbone.type == f'mkbackbones.Manifold{dict(swin="Swin", vit="ViT")[family]}'
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


@cache
def read_set(name):
    cfg = Config.fromfile(ROOT / '_base_' / 'datasets' / f'{name}.py')
    semantic = 'seg_map_path' in cfg.train_dataloader.dataset.data_prefix
    cfg.default_scope = 'mmseg' if semantic else 'mmdet'
    return cfg


@pytest.mark.parametrize('name', DEFECT_SETS)
def test_number_of_classes_is_that_of_the_set(name):
    cfg = read_set(name)
    assert cfg.num_classes == len(classes_of(cfg))
    if cfg.default_scope == 'mmseg':
        assert classes_of(cfg)[0] == 'background'
        assert len(cfg.query_weights) == cfg.num_classes + 1


def test_every_set_that_can_be_prepared_has_a_config():
    prepared = {name for name, entry in CATALOGUE.items() if 'Your own' not in entry.help}
    bases = {name.removesuffix('-instances') for name in DEFECT_SETS if not name.startswith('own-')}
    assert bases == prepared


@pytest.mark.parametrize('name', DEFECT_SETS)
def test_splits_do_not_mix(name):
    cfg = read_set(name)
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        folders = [dataset.data_prefix[key] for key in dataset.data_prefix]
        if 'ann_file' in dataset:
            assert dataset.ann_file == f'annotations/{split}.json'
        if name != 'neu-det':  # its splits share a folder of images
            assert all(folder.rstrip('/').endswith(f'/{split}') for folder in folders)
        if 'ann_file' in dataset and split != 'train':
            assert cfg[f'{split}_evaluator'].ann_file == dataset.data_root + dataset.ann_file


@pytest.mark.parametrize('name', DEFECT_SETS)
def test_all_loaders_read_one_set(name):
    cfg = read_set(name)
    loaders = [cfg[f'{split}_dataloader'] for split in ('train', 'val', 'test')]
    assert len({loader.dataset.data_root for loader in loaders}) == 1
    assert len({loader.dataset.type for loader in loaders}) == 1
    folder = name.removesuffix('-instances').removesuffix('-boxes').removesuffix('-semantic')
    assert loaders[0].dataset.data_root.endswith(f'/{folder}/')
    assert loaders[1].dataset.get('test_mode', True)
    assert loaders[0].dataset.pipeline != loaders[1].dataset.pipeline


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
    backbone = cfg.model.backbone
    if backbone.type.endswith('Swin'):
        backbone.arch = dict(embed_dims=24, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8))
        cfg.model.neck.in_channels = [24, 48, 96, 192]
    else:
        backbone.arch = dict(embed_dims=48, depth=4, num_heads=2)
        cfg.model.neck.in_channels = 48
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.param_scheduler = []
    make_small(cfg, 64)
