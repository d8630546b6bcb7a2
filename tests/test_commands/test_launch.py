import argparse
import os

import pytest
from mmengine.device import get_device

from mkbackbones.commands import launch
from mkbackbones.commands.errors import CommandError


def parse(*argv):
    parser = argparse.ArgumentParser(prog='python -m mkbackbones train')
    parser.add_argument('config')
    launch.add_launch_arguments(parser)
    return parser.parse_args(['cfg.py', *argv])


class TestSelectDevice:
    @pytest.mark.parametrize('argv', [['--device', 'cpu'], ['--gpus', '0']])
    def test_cpu_hides_the_accelerators(self, monkeypatch, argv):
        import mmengine.device.utils

        monkeypatch.setattr(mmengine.device.utils, 'DEVICE', 'cuda')
        launch.select_device(parse(*argv))
        assert os.environ['CUDA_VISIBLE_DEVICES'] == ''
        assert get_device() == 'cpu'

    def test_one_gpu_and_auto_leave_the_choice_to_mmengine(self):
        launch.select_device(parse('--gpus', '1'))
        launch.select_device(parse())
        assert 'CUDA_VISIBLE_DEVICES' not in os.environ

    @pytest.mark.parametrize(
        'argv, message',
        [
            (['--gpus', '-1'], '--gpus -1 is negative'),
            (
                ['--gpus', '2'],
                'torchrun --nproc_per_node=2 -m mkbackbones train cfg.py --launcher pytorch',
            ),
            (['--device', 'cpu', '--launcher', 'pytorch'], 'leave out --launcher pytorch'),
            (['--launcher', 'pytorch'], 'torchrun --nproc_per_node=GPUS -m mkbackbones train'),
        ],
    )
    def test_what_cannot_work_is_refused(self, argv, message):
        with pytest.raises(CommandError, match=message):
            launch.select_device(parse(*argv))

    def test_cuda_is_refused_where_there_is_none(self, monkeypatch):
        monkeypatch.setattr('torch.cuda.is_available', lambda: False)
        with pytest.raises(CommandError, match='use --device cpu'):
            launch.select_device(parse('--device', 'cuda'))

    def test_both_spellings_of_local_rank(self):
        launch.select_device(parse('--local-rank', '3'))
        assert os.environ['LOCAL_RANK'] == '3'
        assert parse('--local_rank=2').local_rank == 2
