import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mkbackbones.openmmlab.distributions import look
from mkbackbones.runner import preflight
from mkbackbones.runner.errors import InputError

from ..test_openmmlab.fakes import MAINTAINED, ORIGINAL, install


def test_a_cv2_without_libgl_gets_the_command_that_mends_it(tmp_path, monkeypatch):
    error = 'libGL.so.1: cannot open shared object file: No such file or directory'
    (tmp_path / 'cv2.py').write_text(f'raise ImportError({error!r})')
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, 'cv2', raising=False)
    with pytest.raises(InputError, match=r'libGL.*pip install .* opencv-python-headless'):
        preflight.check_cv2()


def test_a_scope_that_is_not_installed_gets_the_command_that_installs_it():
    preflight.check_scope(Config({'default_scope': 'mmengine'}), Path('cfg.py'))
    preflight.check_scope(Config({}), Path('cfg.py'))
    with pytest.raises(InputError, match=r'cfg\.py belongs to mmfoo .* pip install mmfoo'):
        preflight.check_scope(Config({'default_scope': 'mmfoo'}), Path('cfg.py'))


@pytest.mark.parametrize('line, name', [(ORIGINAL, 'mmpretrain'), (MAINTAINED, 'onedl-mmpretrain')])
def test_what_is_installed_for_a_scope_is_of_the_line_that_is_there(
    tmp_path, monkeypatch, line, name
):
    libraries = look([install(tmp_path, line)])
    monkeypatch.setattr(preflight, 'look', lambda: libraries)
    monkeypatch.setattr(preflight.importlib.util, 'find_spec', lambda scope: None)
    with pytest.raises(InputError, match=f'pip install {name}$'):
        preflight.check_scope(Config({'default_scope': 'mmpretrain'}), Path('cfg.py'))


class TestCheckPaths:
    def loader(self, **dataset):
        return Config({'train_dataloader': {'dataset': dataset}})

    def check(self, cfg):
        preflight.check_paths(cfg, ('train', 'val'))

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
        with pytest.raises(InputError, match=f'train_dataloader: {missing} does not exist'):
            self.check(self.loader(**dataset))

    def test_what_the_metric_reads_is_checked_too(self):
        for metric in (dict(ann_file='val.json'), [dict(type='IoU'), dict(ann_file='val.json')]):
            with pytest.raises(InputError, match=r'val_evaluator: val\.json does not exist'):
                self.check(Config({'val_evaluator': metric}))

    def test_remote_data_is_left_to_the_file_client(self):
        self.check(self.loader(ann_file='s3://bucket/a.json'))
        self.check(self.loader(ann_file='a.json', backend_args=dict(backend='petrel')))

    def test_weights_to_start_from(self):
        self.check(Config({'load_from': 'https://host/weights.pth'}))
        with pytest.raises(InputError, match=r'checkpoint weights\.pth does not exist'):
            self.check(Config({'load_from': 'weights.pth'}))
        with pytest.raises(InputError, match=r'checkpoint \. is a folder; give a file in it'):
            self.check(Config({'load_from': '.'}))


def test_class_maps_without_their_pictures_are_told(tmp_path):
    for folder in ('images/val', 'masks/val'):
        (tmp_path / folder).mkdir(parents=True)
    for i in range(4):
        (tmp_path / f'images/val/{i}.jpg').touch()
        (tmp_path / f'masks/val/{i}.png').touch()
    prefix = dict(img_path='images/val', seg_map_path='masks/val')
    dataset = dict(type='BaseSegDataset', data_root=str(tmp_path), data_prefix=prefix)
    cfg = Config(dict(val_dataloader=dict(dataset=dict(type='Wrapper', dataset=dataset))))
    (tmp_path / 'images/val/2.jpg').unlink()
    preflight.check_paths(cfg, ('val',))  # maps of others may lie there, too
    (tmp_path / 'dataset.json').write_text('{}')
    with pytest.raises(
        InputError, match=r'1 of 4 class maps in .*masks/val have no picture'
    ) as told:
        preflight.check_paths(cfg, ('val',))
    assert str(told.value).startswith('val_dataloader: ') and ': 2; put the' in str(told.value)
    (tmp_path / 'masks/val/2.png').unlink()
    preflight.check_paths(cfg, ('val',))
