import json

import pytest

from mkbackbones.datasets import DatasetError
from mkbackbones.leakage import find_pictures, group_keys

from .surfaces import crop, strip, write

IMAGE = crop(strip(0), 0, 0, 32)


def splits(root, **options):
    return {picture.key: picture.split for picture in find_pictures(root, **options)}


def test_splits_by_folder_and_masks_left_out(tmp_path):
    write(tmp_path, {'images/train/a': IMAGE, 'images/test/b': IMAGE, 'masks/train/a': IMAGE})
    assert splits(tmp_path) == dict(a='train', b='test')


def test_splits_by_annotation(tmp_path):
    write(tmp_path, {'images/a': IMAGE, 'images/b': IMAGE, 'images/c': IMAGE})
    (tmp_path / 'annotations').mkdir()
    for split, name in (('train', 'a'), ('val', 'b')):
        content = json.dumps(dict(images=[dict(file_name=f'{name}.png')]))
        (tmp_path / 'annotations' / f'{split}.json').write_text(content)
    assert splits(tmp_path) == dict(a='train', b='val', c=None)
    assert splits(tmp_path, splits=dict(a='test')) == dict(a='test', b=None, c=None)


def test_a_split_that_is_a_link_and_one_that_leads_nowhere(tmp_path):
    write(tmp_path, {'set/images/train/a': IMAGE, 'disk/b': IMAGE})
    (tmp_path / 'set/images/val').symlink_to('../../disk')
    assert splits(tmp_path / 'set') == dict(a='train', b='val')
    (tmp_path / 'set/images/test').symlink_to('../../gone')
    with pytest.raises(DatasetError, match='images/test is a link to nothing'):
        find_pictures(tmp_path / 'set')


def test_a_name_that_is_no_utf8(tmp_path):
    write(tmp_path, dict(a=IMAGE, b=IMAGE))
    try:
        (tmp_path / 'a.png').rename(tmp_path / 'a\udce9.png')
    except OSError:
        pytest.skip('the file system takes UTF-8 alone')
    with pytest.raises(DatasetError, match='not UTF-8'):
        find_pictures(tmp_path)


def test_two_pictures_of_one_name(tmp_path):
    write(tmp_path, {'images/train/0': IMAGE, 'images/test/0': IMAGE})
    assert splits(tmp_path) == {'test__0': 'test', 'train__0': 'train'}


@pytest.mark.parametrize(
    'files, options, message',
    [
        ([], {}, 'holds 0 pictures'),
        (['a'], {}, 'holds 1 pictures'),
        (['a', 'b'], dict(splits=dict(c='train')), "'c' is not 'a'"),
        (['a', 'b'], dict(splits=dict(a='tset')), "split 'tset' is none of"),
    ],
)
def test_errors(tmp_path, files, options, message):
    write(tmp_path, dict.fromkeys(files, IMAGE))
    with pytest.raises(DatasetError, match=message):
        find_pictures(tmp_path, **options)
    with pytest.raises(DatasetError, match='is no folder'):
        find_pictures(tmp_path / 'nowhere')


def test_groups_are_closed():
    groups = group_keys('abcdef', [('b', 'a'), ('b', 'c'), ('f', 'e')])
    assert groups == dict(a='a', b='a', c='a', d='d', e='e', f='e')
    assert group_keys('ab', []) == dict(a='a', b='b')
