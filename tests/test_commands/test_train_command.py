import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mkbackbones.commands.train import main


def last_log(folder):
    return max(Path(folder).glob('*/vis_data/scalars.json')).read_text()


def test_trains_on_the_cpu_into_a_folder_named_after_the_config(toy_config):
    assert main([toy_config, '--gpus', '0']) == 0
    checkpoint = torch.load('work_dirs/mk_toy_config/epoch_1.pth', weights_only=False)
    assert checkpoint['meta']['epoch'] == 1


def test_work_dir_and_overrides_reach_the_runner(toy_config):
    options = ['--cfg-options', 'train_cfg.max_epochs=2', 'randomness.seed=7']
    assert main([toy_config, '--device', 'cpu', '--work-dir', 'out', *options]) == 0
    assert Path('out/epoch_2.pth').is_file()
    assert Config.fromfile('out/mk_toy_config.py').randomness.seed == 7


def test_resume_goes_on_from_the_latest_checkpoint(toy_config, capsys):
    longer = ['--cfg-options', 'train_cfg.max_epochs=3']
    assert main([toy_config, '--device', 'cpu']) == 0
    assert main([toy_config, '--device', 'cpu', '--resume', *longer]) == 0
    checkpoint = torch.load('work_dirs/mk_toy_config/epoch_3.pth', weights_only=False)
    assert checkpoint['meta']['iter'] == 6
    assert 'work_dirs/mk_toy_config/epoch_1.pth' in capsys.readouterr().out


def test_amp_computes_in_bfloat16_on_a_cpu(toy_config):
    run = [toy_config, '--device', 'cpu', '--work-dir']
    # mmengine keeps one visualiser an experiment name, and the name has a second's resolution.
    assert main([*run, 'amp', '--amp', '--cfg-options', 'experiment_name=amp']) == 0
    assert main([*run, 'full', '--cfg-options', 'experiment_name=full']) == 0
    assert '"bits": 16.0' in last_log('amp')
    assert '"bits": 32.0' in last_log('full')


@pytest.mark.parametrize(
    'argv, message',
    [
        (['--resume', 'none.pth'], 'checkpoint none.pth does not exist'),
        (['--cfg-options', 'train_dataloader=None'], 'has no train_dataloader'),
        (['--cfg-options', 'train_dataloader.dataset.ann_file=no.json'], 'no.json does not exist'),
    ],
)
def test_bad_input_ends_with_code_2_and_leaves_nothing_behind(toy_config, capsys, argv, message):
    assert main([toy_config, '--device', 'cpu', *argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert message in error
    assert not Path('work_dirs').exists()


def test_a_shell_sees_one_line_and_exit_code_2():
    command = [sys.executable, '-m', 'mkbackbones', 'train', 'no_such_config.py']
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith('error: config no_such_config.py is neither')
    assert 'Traceback' not in done.stderr
