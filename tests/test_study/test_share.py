"""Runs share the cores of a machine without a change of numbers."""

import pytest
from mmengine.config import Config

from mkbackbones.study import share
from mkbackbones.study.share import CORES, bound_loaders, crowded, share_of_cores


def config(workers):
    loader = dict(num_workers=workers, batch_size=1)
    return Config({f'{split}_dataloader': dict(loader) for split in ('train', 'val', 'test')})


@pytest.mark.parametrize('cores, found', [(None, 8), ('2', 2), ('16', 8)])
def test_loaders_of_images_without_chance_are_bounded(monkeypatch, cores, found):
    monkeypatch.delenv(CORES, raising=False)
    if cores:
        monkeypatch.setenv(CORES, cores)
    cfg = config(8)
    bound_loaders(cfg)
    assert cfg.val_dataloader.num_workers == cfg.test_dataloader.num_workers == found
    assert cfg.train_dataloader.num_workers == 8  # decides on the draws of the augmentation


def test_more_processes_than_cores_are_told(monkeypatch):
    monkeypatch.setattr(share, 'usable_cores', lambda: 16)
    assert share_of_cores(5) == 3 and share_of_cores(40) == 1
    assert crowded([config(2), config(4)], 4) == ''
    assert '10 runs with 4 loader processes each share 16 cores' in crowded([config(4)], 10)
    assert crowded([config(40)], 1) == ''  # as the config says, and alone
