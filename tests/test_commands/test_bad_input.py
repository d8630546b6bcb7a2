"""Values that cannot be, and checkpoints that belong to something else, in a sentence."""

from pathlib import Path

import pytest
import torch

import mkbackbones
from mkbackbones.commands.test import main as evaluate
from mkbackbones.commands.train import main as train

CPU = ['--device', 'cpu']


@pytest.mark.parametrize(
    'option',
    ['randomness.seed=abc', 'randomness.seed=-1', 'model=5', 'train_cfg.max_epochs=-1',
     'train_cfg.max_epochs=0', 'train_cfg.val_interval=0.5', 'train_dataloader.batch_size=0',
     'train_dataloader.num_workers=-1', 'optim_wrapper.optimizer=5',
     'optim_wrapper.optimizer.lr=fast'],
)  # fmt: skip
def test_values_are_told_with_their_place(toy_config, option, capsys):
    assert train([toy_config, *CPU, '--cfg-options', option]) == 2
    error = capsys.readouterr().err
    assert option.split('=')[0] in error and 'it has to be' in error
    assert not Path('work_dirs').exists()


@pytest.fixture
def trained(toy_config):
    assert train([toy_config, *CPU]) == 0
    return torch.load('work_dirs/mk_toy_config/epoch_1.pth', weights_only=False)['state_dict']


@pytest.mark.parametrize('wrapper', [None, 'state_dict', 'model'])
def test_a_checkpoint_without_meta_is_one(toy_config, trained, wrapper):
    torch.save(trained if wrapper is None else {wrapper: trained}, 'x.pth')
    assert evaluate([toy_config, 'x.pth', *CPU]) == 0
    options = ['--cfg-options', 'load_from=x.pth', 'experiment_name=again']
    assert train([toy_config, *CPU, '--work-dir', 'again', *options]) == 0


@pytest.mark.parametrize(
    'content', [[1, 2], 5, {}, {'state_dict': 5}, {'layer4.0.weight': torch.zeros(1)}]
)
def test_what_is_no_checkpoint_of_the_model_is_told(toy_config, content, capsys):
    torch.save(content, 'x.pth')
    assert evaluate([toy_config, 'x.pth', *CPU]) == 2
    assert train([toy_config, *CPU, '--cfg-options', 'load_from=x.pth']) == 2
    assert capsys.readouterr().err.count('x.pth') >= 2


def test_a_missing_checkpoint_of_a_part_is_told_at_once(toy_config, capsys):
    option = "model.init_cfg={'type': 'Pretrained', 'checkpoint': 'gone.pth'}"
    assert train([toy_config, *CPU, '--cfg-options', option]) == 2
    assert 'model.init_cfg: checkpoint gone.pth does not exist' in capsys.readouterr().err


def test_the_classes_are_where_the_config_names_them():
    assert mkbackbones.ManifoldSwin is mkbackbones.backbones.ManifoldSwin
    assert mkbackbones.SimpleFeaturePyramid is mkbackbones.necks.SimpleFeaturePyramid


def test_a_class_without_its_comma_is_told():
    from mkbackbones.datasets.class_names import class_fault

    fault = class_fault(dict(type='CocoDataset', metainfo=dict(classes='crack')), 'mmdet')
    assert "('crack',)" in fault
