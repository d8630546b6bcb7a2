"""The shipped configs: they parse, name what exists, build, and train on a few images."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from mkbackbones.datasets import SyntheticDefects, metainfo
from mkbackbones.datasets.writer import write_dataset
from mkbackbones.keys import build_key
from mkbackbones.study import count_cost

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
ROOT = Path(__file__).resolve().parents[2] / 'configs'
LEAVES = sorted(p for p in ROOT.rglob('*.py') if '_base_' not in p.parts)
METAINFO = {
    'neu-det': metainfo.NEU_DET,
    'neu-seg-instances': metainfo.NEU_SEG_INSTANCES,
    'neu-seg': metainfo.NEU_SEG_SEMANTIC,
    'synthetic-instances': metainfo.SYNTHETIC_INSTANCES,
    'synthetic': metainfo.SYNTHETIC_SEMANTIC,
}


def libraries():
    import mmseg.models  # noqa: F401


def test_names_are_unique():
    """mim and our commands look a config up by its bare name."""
    names = [p.name for p in LEAVES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize('path', LEAVES, ids=lambda p: p.stem)
def test_builds_and_names_match_what_is_inside(path):
    libraries()
    cfg = Config.fromfile(path)
    assert cfg.custom_imports['imports'] == ['mkbackbones']
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device('meta'):
        model = MODELS.build(cfg.model)
    backbone, key = path.stem.split('_')[1].rsplit('-', 1)
    key_cfg = cfg.model.backbone.get('key_cfg')
    kind = {'stock': None, 'spatial': 'SpatialK', 'vanilla': 'VanillaK'}[key]
    assert (key_cfg and key_cfg['type']) == kind
    assert (
        type(model.backbone).__name__
        == dict(swin='ManifoldSwin', vit='ManifoldViT')[backbone.split('-')[0]]
    )
    classes = len(cfg.metainfo.classes)
    head = model.roi_head.bbox_head if hasattr(model, 'roi_head') else model.decode_head
    assert head.num_classes == classes == len(cfg.metainfo.palette)
    if getattr(model, 'with_mask', False):
        assert model.roi_head.mask_head.num_classes == classes


@pytest.mark.parametrize('name', METAINFO)
def test_classes_are_those_the_converters_write(name):
    cfg = Config.fromfile(ROOT / '_base_' / 'datasets' / f'{name}.py')
    wanted = METAINFO[name]
    assert tuple(cfg.metainfo.classes) == tuple(wanted['classes'])
    assert cfg.metainfo.palette == wanted['palette']
    # mmdet's visualiser takes tuples only.
    assert all(isinstance(colour, tuple) for colour in cfg.metainfo.palette)


@pytest.mark.parametrize('name', METAINFO)
def test_splits_do_not_mix(name):
    cfg = Config.fromfile(ROOT / '_base_' / 'datasets' / f'{name}.py')
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        ann_file = dataset.get('ann_file')
        if ann_file is not None:
            assert ann_file == f'annotations/{split}.json'
        else:
            assert dataset.data_prefix == dict(
                img_path=f'images/{split}', seg_map_path=f'masks/{split}'
            )
        if ann_file and split != 'train':
            assert cfg[f'{split}_evaluator'].ann_file == dataset.data_root + ann_file


@pytest.mark.parametrize(
    'path', sorted((ROOT / '_base_' / 'keys').glob('*.py')), ids=lambda p: p.stem
)
def test_keys_build(path):
    with torch.device('meta'):
        build_key(Config.fromfile(path).key_cfg.to_dict(), 96)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    write_dataset(SyntheticDefects(dict(train=4, val=2, test=2), size=64), root / 'synthetic')
    return root


@pytest.mark.parametrize(
    'name',
    [
        'detection/faster-rcnn_swin-t-spatial_synthetic',
        'detection/faster-rcnn_vit-s-vanilla_synthetic',
        'detection/mask-rcnn_swin-t-stock_synthetic',
        'detection/mask-rcnn_vit-s-vanilla_synthetic',
        'segmentation/upernet_swin-t-spatial_synthetic',
        'segmentation/upernet_vit-s-vanilla_synthetic',
    ],
)
def test_trains_in_bfloat16(name, data, tmp_path, monkeypatch):
    """The real config, its widths reduced, for two iterations on two images: every weight moves."""
    monkeypatch.setenv('MKBACKBONES_DATA', str(data))
    cfg = Config.fromfile(ROOT / f'{name}.py')
    cfg.work_dir = str(tmp_path)
    shrink(cfg)
    runner = Runner.from_cfg(cfg)
    runner.model.init_weights()
    before = {n: p.clone() for n, p in runner.model.named_parameters()}
    runner.train()
    for parameter_name, p in runner.model.named_parameters():
        assert p.isfinite().all(), parameter_name
    moved = [n for n, p in runner.model.named_parameters() if not torch.equal(p, before[n])]
    assert any('backbone' in n for n in moved) and any('head' in n for n in moved)
    assert count_cost(runner.model.backbone, (64, 64)).flops > 0
    runner.val()


def shrink(cfg):
    """Reduce widths and sizes, nothing else."""
    backbone = cfg.model.backbone
    if backbone.type.endswith('Swin'):
        dims = [24, 48, 96, 192]
        backbone.arch = dict(embed_dims=24, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8))
        if 'neck' in cfg.model:
            cfg.model.neck.in_channels = dims
        else:
            cfg.model.decode_head.in_channels = dims
            cfg.model.auxiliary_head.in_channels = dims[2]
    else:
        backbone.arch = dict(embed_dims=48, depth=4, num_heads=2)
        cfg.model.neck.in_channels = 48
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.param_scheduler = []
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        for step in loader.dataset.pipeline:
            step.update({k: (64, 64) for k in ('scale', 'crop_size') if k in step})
