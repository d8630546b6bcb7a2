import argparse
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.device import get_device

from mkbackbones.commands import launch
from mkbackbones.commands.launch import CommandError


def parse(*argv):
    parser = argparse.ArgumentParser(prog='python -m mkbackbones train')
    parser.add_argument('config')
    launch.add_launch_arguments(parser)
    return parser.parse_args(['cfg.py', *argv])


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    root = tmp_path / 'shipped'
    for name in (
        'detection/swin_coco.py',
        'detection/vit.py',
        'segmentation/vit.py',
        '_base_/b.py',
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    monkeypatch.setattr(launch, 'config_root', lambda: root)
    return root


class TestFindConfig:
    def test_an_existing_path_wins_over_a_shipped_config(self, shipped):
        Path('swin_coco.py').touch()
        assert launch.find_config('swin_coco.py') == Path('swin_coco.py')

    @pytest.mark.parametrize(
        'name',
        ['swin_coco.py', 'swin_coco', 'detection/swin_coco.py', 'configs/detection/swin_coco.py'],
    )
    def test_finds_a_shipped_config_by_the_end_of_its_path(self, shipped, name):
        assert launch.find_config(name) == shipped / 'detection/swin_coco.py'

    def test_an_ambiguous_name_lists_what_to_write(self, shipped):
        with pytest.raises(CommandError, match=r'configs/detection/vit.py, configs/segm.*/vit.py'):
            launch.find_config('vit.py')
        assert launch.find_config('segmentation/vit.py') == shipped / 'segmentation/vit.py'

    def test_a_typo_gets_the_closest_name(self, shipped):
        with pytest.raises(CommandError, match=r'did you mean swin_coco\.py\?'):
            launch.find_config('swim_coco.py')

    def test_a_wrong_folder_is_not_ignored(self, shipped):
        with pytest.raises(CommandError, match=r'did you mean swin_coco\.py\?'):
            launch.find_config('my/experiments/swin_coco.py')

    @given(
        names=st.sets(st.from_regex(r'[a-c]{1,2}(/[a-c]{1,2}){0,2}', fullmatch=True), min_size=1)
    )
    @settings(
        max_examples=30,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    def test_the_full_path_always_names_the_file_itself(self, tmp_path_factory, monkeypatch, names):
        root = tmp_path_factory.mktemp('configs')
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).with_suffix('.py').touch()
        monkeypatch.setattr(launch, 'config_root', lambda: root)
        for name in names:
            assert launch.find_config(f'configs/{name}') == (root / name).with_suffix('.py')

    def test_the_checkout_or_the_installation_ships_configs(self):
        assert launch.config_root().is_dir()


class TestReadConfig:
    def test_overrides_have_the_types_their_text_suggests(self):
        Path('cfg.py').write_text('a = dict(b=1, c=[1, 2])\nd = "x"')
        options = ['a.b=2.5', 'a.c=[3,4]', 'd=y', 'e=True']
        cfg = launch.read_config(Path('cfg.py'), options)
        assert cfg.to_dict() == {'a': {'b': 2.5, 'c': [3, 4]}, 'd': 'y', 'e': True}

    @pytest.mark.parametrize('option', ['a', 'a.b', 'a.b.c=1', 'a.c=[1,(2]'])
    def test_a_bad_override_is_named(self, option):
        Path('cfg.py').write_text('a = dict(b=1)')
        with pytest.raises(CommandError, match='--cfg-options ' + option.split('=')[0]):
            launch.read_config(Path('cfg.py'), [option])

    @pytest.mark.parametrize(
        'text, reason',
        [
            ('a = (', 'SyntaxError'),
            ('a = b', 'NameError'),
            ("_base_ = 'none.py'", 'none.py'),
            ("custom_imports = dict(imports=['no_such_module'])", 'no_such_module'),
        ],
    )
    def test_a_broken_config_is_named_with_the_reason(self, text, reason):
        Path('cfg.py').write_text(text)
        with pytest.raises(CommandError, match=rf'config cfg\.py: .*{reason}') as caught:
            launch.read_config(Path('cfg.py'), [])
        assert '\n' not in str(caught.value)


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


def test_a_cv2_without_libgl_gets_the_command_that_mends_it(tmp_path, monkeypatch):
    error = 'libGL.so.1: cannot open shared object file: No such file or directory'
    (tmp_path / 'cv2.py').write_text(f'raise ImportError({error!r})')
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, 'cv2', raising=False)
    with pytest.raises(CommandError, match=r'libGL.*pip install .* opencv-python-headless'):
        launch.check_cv2()


def test_a_scope_that_is_not_installed_gets_the_command_that_installs_it():
    launch.check_scope(Config({'default_scope': 'mmengine'}), Path('cfg.py'))
    launch.check_scope(Config({}), Path('cfg.py'))
    with pytest.raises(CommandError, match=r'cfg\.py belongs to mmfoo .* pip install mmfoo'):
        launch.check_scope(Config({'default_scope': 'mmfoo'}), Path('cfg.py'))


class TestCheckPaths:
    def loader(self, **dataset):
        return Config({'train_dataloader': {'dataset': dataset}})

    def check(self, cfg):
        launch.check_paths(cfg, ('train_dataloader', 'val_dataloader'))

    def test_what_exists_passes(self, tmp_path):
        (tmp_path / 'data' / 'train').mkdir(parents=True)
        (tmp_path / 'data' / 'train.json').touch()
        self.check(
            self.loader(data_root='data', ann_file='train.json', data_prefix={'img': 'train/'})
        )
        self.check(self.loader(ann_file=str(tmp_path / 'data' / 'train.json'), data_root='data'))
        self.check(self.loader(type='ToyData'))
        self.check(Config({}))

    @pytest.mark.parametrize(
        'dataset, missing',
        [
            (dict(data_root='data', ann_file='train.json'), 'data/train.json'),
            (dict(data_root='data', data_prefix=dict(img_path='img', seg='')), 'data/img'),
            (dict(type='RepeatDataset', dataset=dict(ann_file='a.json')), 'a.json'),
            (dict(type='ConcatDataset', datasets=[dict(), dict(ann_file='b.json')]), 'b.json'),
        ],
    )
    def test_what_is_missing_is_named(self, dataset, missing):
        with pytest.raises(CommandError, match=f'train_dataloader: {missing} does not exist'):
            self.check(self.loader(**dataset))

    def test_remote_data_is_left_to_the_file_client(self):
        self.check(self.loader(ann_file='s3://bucket/a.json'))
        self.check(self.loader(ann_file='a.json', backend_args=dict(backend='petrel')))

    def test_weights_to_start_from(self):
        self.check(Config({'load_from': 'https://host/weights.pth'}))
        with pytest.raises(CommandError, match=r'checkpoint weights\.pth does not exist'):
            self.check(Config({'load_from': 'weights.pth'}))
