"""What a config cannot say, and what is found in one."""

import pytest
from mmengine.config import Config

from mkbackbones.runner.config_files import apply_options, merge_options
from mkbackbones.runner.config_values import (
    check_values,
    pretrained_checkpoints,
    settle_loaders,
)
from mkbackbones.runner.errors import InputError


def test_pictures_in_memory_leave_loader_processes_nothing_to_do():
    loader = dict(num_workers=2, dataset=dict(type='mkbackbones.ImageFolder', in_memory=True))
    with pytest.raises(InputError, match=r'val_dataloader\.num_workers=2, and in_memory=True'):
        check_values(Config(dict(model=dict(type='M'), val_dataloader=loader)))
    loader['num_workers'] = 0
    check_values(Config(dict(model=dict(type='M'), val_dataloader=loader)))


def test_a_loader_without_workers_keeps_none_alive():
    cfg = Config(dict(train_dataloader=dict(num_workers=0, persistent_workers=True),
                      val_dataloader=dict(num_workers=2, persistent_workers=True)))  # fmt: skip
    settle_loaders(cfg)
    assert 'persistent_workers' not in cfg.train_dataloader
    assert cfg.val_dataloader.persistent_workers


def test_checkpoints_of_all_parts_are_found():
    pretrained = dict(type='Pretrained', checkpoint='a.pth')
    model = dict(init_cfg=[dict(type='Normal'), pretrained], neck=[dict(init_cfg=pretrained)],
                 backbone=dict(init_cfg=dict(pretrained, checkpoint='b.pth')))  # fmt: skip
    assert list(pretrained_checkpoints(model)) == [
        ('model.init_cfg', 'a.pth'),
        ('model.neck.0.init_cfg', 'a.pth'),
        ('model.backbone.init_cfg', 'b.pth'),
    ]


@pytest.mark.parametrize('before', [{}, dict(key=None), dict(key=3), dict(key='x')])
def test_a_dict_takes_the_place_of_nothing_and_of_other_values(before):
    cfg = Config(dict(model=dict(backbone=before)))
    apply_options(cfg, ["model.backbone.key={'type': 'KUA'}"], '--cfg-options')
    assert cfg.model.backbone.to_dict() == {'key': {'type': 'KUA'}}


def test_a_dict_is_merged_into_a_dict():
    cfg = Config(dict(model=dict(key=dict(type='KUA', num_charts=8), parts=[dict(a=1), None])))
    options = ["model.key={'num_charts': 2}", "model.parts.0={'b': 2}"]
    apply_options(cfg, options, '--cfg-options')
    assert cfg.model.key.to_dict() == dict(type='KUA', num_charts=2)
    assert cfg.model.parts[0].to_dict() == dict(a=1, b=2)


def test_a_word_for_mmengine_does_not_stay():
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    merge_options(cfg, {'optim_wrapper.paramwise_cfg': dict(_delete_=True, decay_rate=1.0)})
    assert cfg.optim_wrapper.paramwise_cfg.to_dict() == dict(decay_rate=1.0)
