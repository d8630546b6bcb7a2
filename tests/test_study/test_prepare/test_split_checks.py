"""Found before training: names that clash, one group, classes that a split lacks."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mkbackbones.classification import ImageFolder
from mkbackbones.runner.errors import InputError
from mkbackbones.study.define.spec import StudyError, read_study
from mkbackbones.study.evidence.groups import groups_of
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.prepare.split_checks import check_splits

from ..tiny import write_image_folder, write_study


class Set:
    """A data set of mmdet or mmseg, as far as the checks look."""

    def __init__(self, images, classes=('dent', 'scratch')):
        self.images, self.metainfo = images, {'classes': classes}

    def __len__(self):
        return len(self.images)

    def get_data_info(self, index):
        path, labels = self.images[index]
        instances = [{'bbox_label': label} for label in labels]
        return {'img_path': path, 'seg_map_path': path, 'instances': instances}


def check(tmp_path, **splits):
    both = [('train/a.png', [0, 1]), ('train/b.png', [1])]
    sets = {split: Set(splits.get(split, both)) for split in ('train', 'val', 'test')}
    return check_splits('parts', 'detection', sets, str(tmp_path))


def test_all_is_well(tmp_path):
    assert check(tmp_path) == []


def test_names_that_clash_are_told(tmp_path):
    test = [('left/1.png', [0]), ('right/1.jpg', [1]), ('right/2.jpg', [1])]
    with pytest.raises(StudyError, match=r"task parts: 1 names occur more than once.*'1'"):
        check(tmp_path, test=test)


def test_one_group_is_told(tmp_path):
    (tmp_path / 'groups.json').write_text(json.dumps({'a': 'strip', 'b': 'strip'}))
    with pytest.raises(StudyError, match='one group'):
        check(tmp_path)


@pytest.mark.parametrize('content', ['', '[1]', '{"a": []}', '[' * 10000])
def test_damaged_groups_are_told(tmp_path, content):
    (tmp_path / 'groups.json').write_text(content)
    with pytest.raises(ValueError, match=r'groups\.json'):
        check(tmp_path)


def test_a_class_that_train_lacks_is_an_error_and_elsewhere_a_note(tmp_path):
    with pytest.raises(StudyError, match='train split has no image with scratch'):
        check(tmp_path, train=[('a.png', [0])])
    notes = check(tmp_path, val=[('a.png', [0])], test=[('a.png', [1]), ('b.png', [1])])
    assert len(notes) == 2 and 'val split has no image with scratch' in notes[0]
    assert 'test split has no image with dent' in notes[1]


def test_classes_of_class_maps_are_counted(tmp_path):
    for name, value in (('a', 1), ('b', 2)):
        Image.fromarray(np.full((4, 4), value, np.uint8)).save(tmp_path / f'{name}.png')
    images = [(str(tmp_path / 'a.png'), []), (str(tmp_path / 'b.png'), [])]
    classes = ('background', 'dent', 'scratch')
    sets = {split: Set(images, classes) for split in ('train', 'val', 'test')}
    assert check_splits('parts', 'segmentation', sets, '') == []
    sets['train'] = Set(images[:1], classes)
    with pytest.raises(StudyError, match='no image with scratch'):
        check_splits('parts', 'segmentation', sets, '')


class TestImageFolder:
    def test_classes_are_numbered_as_in_the_train_folder(self, tmp_path):
        write_image_folder(tmp_path, test=True)
        shutil.rmtree(tmp_path / 'val/bright')
        val = ImageFolder(str(tmp_path), 'val')
        assert {label for _, label in val.samples} == {1}
        assert val.classes == ['bright', 'dark']

    def test_a_class_that_train_lacks_is_told(self, tmp_path):
        write_image_folder(tmp_path, test=True)
        (tmp_path / 'test/brigth').mkdir()
        with pytest.raises(ValueError, match=r"'brigth', which .*train lacks.*mean 'bright'"):
            ImageFolder(str(tmp_path), 'test')

    def test_groups_of_stems_count(self, tmp_path):
        (tmp_path / 'groups.json').write_text(json.dumps({'img1': 'strip', 'dark/img2': 'strip'}))
        assert set(groups_of(tmp_path, ['dark/img1', 'dark/img2']).values()) == {'strip'}


def test_a_study_says_what_its_splits_lack(tmp_path):
    study = write_study(tmp_path)
    shutil.rmtree(tmp_path / 'folder/val/bright')
    prepared = prepare_study(read_study(study))
    assert 'test split has no image with bright' in prepared.notes[0]
    assert any('no image with bright' in sentence for sentence in prepared.info().fairness)


def test_the_classes_of_the_config_are_compared(tmp_path, monkeypatch):
    def refuse(cfg, stages):
        raise InputError('train_dataloader: the config has the class dnet')

    monkeypatch.setattr('mkbackbones.study.prepare.prepared.check_classes', refuse)
    with pytest.raises(StudyError, match=r'task classification: .*dnet'):
        prepare_study(read_study(write_study(tmp_path)))
