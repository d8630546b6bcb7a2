"""The bases of the defect sets: they agree with the converters, and load what these write."""

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mkbackbones.datasets.catalogue import CATALOGUE

from .zoo import ROOT, classes_of, libraries, write_data

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
DEFECT_SETS = sorted(
    path.stem
    for path in (ROOT / '_base_' / 'datasets').glob('*.py')
    if "_base_ = '../tasks/" in path.read_text()
)


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


#: Sets with boxes whose pictures all have one size.
OF_ONE_SIZE = {'neu-det', 'neu-seg', 'synthetic', 'gc10-det', 'deep-pcb', 'dagm', 'severstal'}


@pytest.mark.parametrize('name', DEFECT_SETS)
def test_pictures_of_several_sizes_are_not_padded_to_each_other(name):
    """What is found in a picture would depend on its neighbours; predict looks at it alone."""
    cfg = read_set(name)
    alone = name.removesuffix('-instances') not in OF_ONE_SIZE or cfg.default_scope == 'mmseg'
    for split in ('val', 'test'):
        assert (cfg[f'{split}_dataloader'].batch_size == 1) == alone


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


@pytest.mark.parametrize('name', DEFECT_SETS)
def test_batches_have_the_size_and_the_labels_of_the_set(name, tmp_path, monkeypatch):
    monkeypatch.setenv('MKBACKBONES_DATA', str(tmp_path))
    libraries()
    cfg = read_set(name)
    write_data(cfg)
    for split in ('train', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            batch = next(iter(Runner.build_dataloader(loader)))
        for image, sample in zip(batch['inputs'], batch['data_samples']):
            if cfg.default_scope == 'mmseg':
                labels = sample.gt_sem_seg.data.unique()
                wanted = cfg.crop_size if split == 'train' else cfg.image_scale
            else:
                labels = sample.gt_instances.labels
                wanted = cfg.resize.scale
                assert ('masks' in sample.gt_instances) == name.endswith('-instances')
            assert labels.max() < cfg.num_classes
            # The pictures are square: scaled ones are as large as the shorter side allows.
            assert max(image.shape[1:]) <= max(wanted)
            if split == 'test':
                assert tuple(image.shape[1:]) == (min(wanted), min(wanted))
