"""train, test and --resume run nothing that a checkpoint holds, whoever would load it."""

import os
from pathlib import Path

import pytest
import torch

from mkbackbones.commands.test import main as evaluate
from mkbackbones.commands.train import main as train

CPU = ['--device', 'cpu']


class Payload:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ('touch it_ran',)


class Harmless:
    """Is no data, and does nothing."""


@pytest.fixture
def trained(toy_config):
    assert train([toy_config, *CPU]) == 0
    return Path('work_dirs/mk_toy_config/epoch_1.pth')


def add(file, extra):
    content = torch.load(file, weights_only=False)
    content['extra'] = extra
    torch.save(content, file)


WAYS = {
    'load_from': lambda cfg, file: train(
        [cfg, *CPU, '--cfg-options', f'load_from={file}', 'train_cfg.max_epochs=2']
    ),
    'resume': lambda cfg, file: train([cfg, *CPU, '--resume', str(file)]),
    'resume auto': lambda cfg, file: train([cfg, *CPU, '--resume']),
    'test': lambda cfg, file: evaluate([cfg, str(file), *CPU]),
}


@pytest.mark.parametrize('way', WAYS)
def test_a_payload_does_not_run(way, toy_config, trained, capsys):
    add(trained, Payload())
    assert WAYS[way](toy_config, trained) == 2
    assert not Path('it_ran').exists()
    error = capsys.readouterr().err
    assert 'posix.system' in error and '--trusted' in error and error.count('\n') == 1


def test_what_is_trusted_is_loaded(toy_config, trained):
    add(trained, Harmless())
    assert evaluate([toy_config, str(trained), *CPU]) == 2
    assert evaluate([toy_config, str(trained), *CPU, '--trusted']) == 0


def test_pretrained_of_any_module_goes_through_the_same_reader(tmp_path, monkeypatch):
    """Necks and heads, and backbones of other libraries, have mmengine's own Pretrained."""
    from mmengine.model import BaseModule
    from mmengine.runner import CheckpointLoader

    from mkbackbones.checkpoints import CheckpointError
    from mkbackbones.checkpoints.runner_loader import use_safe_loader

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    torch.save({'state_dict': {}, 'x': Payload()}, 'x.pth')
    use_safe_loader()
    with pytest.raises(CheckpointError, match=r'posix\.system'):
        BaseModule(init_cfg=dict(type='Pretrained', checkpoint='x.pth')).init_weights()
    for elsewhere in ('s3://bucket/x.pth', 'pavi://x.pth'):
        with pytest.raises(CheckpointError, match='copy it to a file'):
            CheckpointLoader.load_checkpoint(elsewhere)
    with pytest.raises(CheckpointError, match='knows no such model'):
        CheckpointLoader.load_checkpoint('openmmlab://nothing')
    assert not Path('it_ran').exists()
