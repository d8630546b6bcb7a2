import os
import zipfile

import pytest

from mkbackbones.commands.prepare_dataset import main
from mkbackbones.datasets import DatasetError, sources
from mkbackbones.datasets.fingerprint import fingerprint
from mkbackbones.datasets.sources import Source

from .fakes import write_tree, write_zip


def test_links_are_followed(tmp_path):
    write_tree(tmp_path, {'disk/labels/b.txt': b'b', 'set/a.txt': b'a'})
    (tmp_path / 'set/val').symlink_to('../disk')
    (tmp_path / 'set/c.txt').symlink_to('../disk/labels/b.txt')
    source = Source(tmp_path / 'set', 'VOC')
    assert source.names == ['a.txt', 'c.txt', 'val/labels/b.txt']
    assert source.read('val/labels/b.txt') == b'b'
    before = fingerprint({}, [tmp_path / 'set'])
    (tmp_path / 'disk/labels/b.txt').write_bytes(b'c')
    assert fingerprint({}, [tmp_path / 'set']) != before


@pytest.mark.parametrize(
    'name, target, message',
    [
        ('gone.txt', 'nowhere.txt', 'gone.txt is a link to nothing'),
        ('sub/around', '..', 'around is a link to a folder that it lies in'),
    ],
)
def test_links_that_lead_nowhere(tmp_path, name, target, message):
    write_tree(tmp_path, {'sub/a.txt': b''})
    (tmp_path / name).symlink_to(target)
    with pytest.raises(DatasetError, match=message):
        Source(tmp_path, 'VOC')


def test_links_that_were_copied_as_text(tmp_path):
    write_tree(tmp_path, {'disk/v.png': b'', 'set/val': b'../disk', 'set/LICENSE': b'see ../x'})
    with pytest.raises(DatasetError, match=r'val seems to be a link that was copied as text'):
        Source(tmp_path / 'set', 'VOC')
    (tmp_path / 'set/val').unlink()
    assert Source(tmp_path / 'set', 'VOC').names == ['LICENSE']


def test_links_in_a_zip(tmp_path):
    link = zipfile.ZipInfo('val')
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        archive.writestr(link, '../disk')
    with pytest.raises(DatasetError, match=r'a.zip:val is a link'):
        Source(tmp_path / 'a.zip', 'VOC')


def test_separators_of_windows(tmp_path):
    path = write_zip(tmp_path / 'a.zip', {'labels/a.txt': b'x'})
    # Python itself would write a slash.
    path.write_bytes(path.read_bytes().replace(b'labels/a.txt', b'labels\\a.txt'))
    source = Source(path, 'YOLO')
    assert source.names == ['labels/a.txt'] and source.read('labels/a.txt') == b'x'


def test_two_files_of_one_name(tmp_path):
    path = write_zip(tmp_path / 'a.zip', {'a/b.txt': b'x', 'a?b.txt': b'y'})
    path.write_bytes(path.read_bytes().replace(b'a?b.txt', b'a\\b.txt'))
    with pytest.raises(DatasetError, match=r'holds two files called a/b.txt'):
        Source(path, 'YOLO')


def test_a_name_that_is_no_utf8(tmp_path):
    try:
        (tmp_path / os.fsdecode(b'b\xe9.tif')).touch()
    except OSError:
        pytest.skip('the file system takes UTF-8 alone')
    with pytest.raises(DatasetError, match=r"not UTF-8: b'b\\xe9.tif'; rename it"):
        Source(tmp_path, 'YOLO')


def test_a_file_that_grows_without_bound(tmp_path, monkeypatch):
    path = tmp_path / 'a.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.png', bytes(3 << 20))
    assert len(Source(path, 'YOLO').read('a.png')) == 3 << 20
    monkeypatch.setattr(sources, '_LARGEST', 2 << 20)
    with pytest.raises(DatasetError, match=r'a.zip:a.png would take .* unpack it'):
        Source(path, 'YOLO').read('a.png')


@pytest.mark.parametrize('place', [-22, -18, -10, -6])
@pytest.mark.parametrize('value', [0, 5, 255])
def test_damaged_zips(tmp_path, capsys, place, value):
    """The end of a zip tells where its directory is."""
    files = {'classes.txt': b'dent', 'train/a.txt': b'', 'train/a.png': b''}
    content = bytearray(write_zip(tmp_path / 'a.zip', files).read_bytes())
    content[place] = value
    (tmp_path / 'a.zip').write_bytes(content)
    assert main(['yolo', '--src', str(tmp_path / 'a.zip'), '--out', str(tmp_path / 'out')]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1


@pytest.mark.parametrize('name', ['../labels/b.txt', 'x/../b.txt', 'x\\..\\b.txt', '..'])
def test_names_out_of_a_zip(tmp_path, name):
    path = write_zip(tmp_path / 'a.zip', {'a.txt': b'', name: b''})
    with pytest.raises(DatasetError, match=r'a path out of it \(\.\.\)'):
        Source(path, 'YOLO')


@pytest.mark.parametrize('pack', [write_zip, write_tree])
def test_hidden_files_are_seen_but_for_what_tools_leave(tmp_path, pack):
    files = ['.data/b.txt', '.c.txt', '.DS_Store', 'x/._a.txt', '.git/config', '__MACOSX/a/a.txt']
    path = tmp_path / ('a.zip' if pack is write_zip else 'a')
    pack(path, dict.fromkeys(files, b''))
    assert Source(path, 'YOLO').names == ['.c.txt', '.data/b.txt']


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / 'b.txt')
    with pytest.raises(DatasetError, match=r'b.txt is neither a file nor a folder'):
        Source(tmp_path, 'YOLO')


@pytest.mark.parametrize(
    'name, message', [('b.txt', 'has 17 MiB, more than the 16'), ('b.png', 'times what the zip')]
)
def test_files_that_would_fill_the_memory(tmp_path, name, message):
    path = tmp_path / 'a.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(17 << 20))
    with pytest.raises(DatasetError, match=f'a.zip:{name} .*{message}'):
        Source(path, 'YOLO').read(name)


def test_texts_of_a_folder_are_bounded(tmp_path):
    with open(tmp_path / 'b.txt', 'wb') as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(DatasetError, match='more than the 16'):
        Source(tmp_path, 'YOLO').read('b.txt')


def test_links_that_lead_to_each_other(tmp_path):
    write_tree(tmp_path, {'x/a.txt': b'', 'y/b.txt': b''})
    (tmp_path / 'x/to').symlink_to('../y')
    assert Source(tmp_path, 'VOC').names == ['x/a.txt', 'x/to/b.txt', 'y/b.txt']
    (tmp_path / 'y/back').symlink_to('../x')
    with pytest.raises(DatasetError, match='is a link to a folder that it lies in'):
        Source(tmp_path, 'VOC')


@pytest.mark.parametrize('pack', [write_tree, write_zip])
def test_pointers_of_git_lfs_are_no_files(tmp_path, pack):
    pointer = b'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n'
    path = pack(tmp_path / 'raw', {'a.png': pointer})
    with pytest.raises(DatasetError, match=r'a.png is a pointer of Git LFS.*git lfs pull'):
        Source(path, 'YOLO').read('a.png')
