from pathlib import Path

import pytest

from mkbackbones.predict.inputs import find_pictures, name_pictures
from mkbackbones.runner.errors import InputError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('in/b2.png', 'in/b10.JPG', 'in/deep/er/c.tif', 'in/.hidden/x.png', 'in/notes.txt'):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path('empty').mkdir()
    Path('film.mp4').touch()
    Path('a[1].png').touch()
    return tmp_path


@pytest.mark.parametrize(
    'inputs, found',
    [
        (['in'], ['in/b2.png', 'in/b10.JPG', 'in/deep/er/c.tif']),
        (['in/**/*.tif'], ['in/deep/er/c.tif']),
        (['in/b*'], ['in/b2.png', 'in/b10.JPG']),
        (['in/b10.JPG', 'in', './in/b2.png'], ['in/b10.JPG', 'in/b2.png', 'in/deep/er/c.tif']),
        (['a[1].png'], ['a[1].png']),
        (['in/notes.txt'], ['in/notes.txt']),
    ],
)
def test_files_folders_and_patterns(folder, inputs, found):
    assert [path.as_posix() for path in find_pictures(inputs)] == found


def test_a_list_keeps_what_is_not_there(folder):
    lines = ['in/b2.png\n', '\n', 'gone.png\r\n', 'in/deep']
    found = find_pictures(['-'], lines)
    assert [path.as_posix() for path in found] == ['in/b2.png', 'gone.png', 'in/deep/er/c.tif']


def test_a_former_output_below_the_pictures_is_no_input(folder):
    found = find_pictures(['in'], without=Path('in/deep/../deep'))
    assert [path.name for path in found] == ['b2.png', 'b10.JPG']


@pytest.mark.parametrize(
    'inputs, told',
    [
        (['empty'], 'folder empty has no pictures'),
        (['film.mp4'], 'film.mp4 is a video'),
        (['*.mp4'], 'is a video'),
        (['none.png'], 'input none.png does not exist'),
        (['*.bmp'], r'no file fits \*.bmp'),
        (['-'], 'the list of pictures is empty'),
    ],
)
def test_what_cannot_be_is_told(folder, inputs, told):
    with pytest.raises(InputError, match=told):
        find_pictures(inputs, [])


def test_links_to_folders_are_followed_once(folder):
    Path('camera').mkdir()
    Path('camera/d.png').touch()
    Path('in/camera').symlink_to('../camera')
    Path('camera/back').symlink_to('../in')
    found = [path.as_posix() for path in find_pictures(['in'])]
    assert found == ['in/b2.png', 'in/b10.JPG', 'in/camera/d.png', 'in/deep/er/c.tif']


def test_names_are_unique():
    def stems(*paths):
        return [picture.stem for picture in name_pictures([Path(path) for path in paths])]

    assert stems('x/a.png', 'x/b.png') == ['a', 'b']
    assert stems('x/1/a.png', 'x/2/a.png') == ['1__a', '2__a']
    assert stems('x/a.png', 'x/a.jpg') == ['a.png', 'a.jpg']
    (one, _) = name_pictures([Path('x/1/a.png'), Path('x/b.png')])
    assert one.name == '1/a.png'
