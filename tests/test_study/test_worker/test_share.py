"""Runs share the cores of a machine without a change of numbers."""

import pytest
from mmengine.config import Config

from mkbackbones.study.worker import share
from mkbackbones.study.worker.share import CORES, bound_loaders, share_of_cores


def config(workers, **dataset):
    loader = dict(num_workers=workers, batch_size=1, dataset=dataset)
    return Config({f'{split}_dataloader': dict(loader) for split in ('train', 'val', 'test')})


@pytest.mark.parametrize('cores, found', [(None, 8), ('2', 2), ('16', 8)])
def test_loaders_are_bounded(monkeypatch, cores, found):
    monkeypatch.delenv(CORES, raising=False)
    if cores:
        monkeypatch.setenv(CORES, cores)
    cfg = config(8)
    bound_loaders(cfg)
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].num_workers == found


def test_loaders_that_keep_pictures_are_left_alone(monkeypatch):
    monkeypatch.setenv(CORES, '2')
    steps = [dict(type='LoadImageFromFile'), dict(type='mmdet.CachedMosaic')]
    cfg = config(8, type='MultiImageMixDataset', dataset=dict(pipeline=steps))
    bound_loaders(cfg)
    assert cfg.train_dataloader.num_workers == 8


def test_each_run_has_a_core(monkeypatch):
    monkeypatch.setattr(share, 'usable_cores', lambda: 16)
    assert share_of_cores(5) == 3 and share_of_cores(40) == 1
