import pytest

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.atomic import atomic_output


def content(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*'))


def test_the_folder_appears_at_the_end(tmp_path):
    out = tmp_path / 'deep' / 'out'
    with atomic_output(out) as work:
        (work / 'a').touch()
        assert not out.exists()
    assert content(tmp_path) == ['deep', 'deep/out', 'deep/out/a']


def test_an_empty_folder_is_taken(tmp_path):
    with atomic_output(tmp_path / 'out') as work:
        (work / 'a').touch()
    (tmp_path / 'empty').mkdir()
    with atomic_output(tmp_path / 'empty') as work:
        (work / 'b').touch()
    assert content(tmp_path) == ['empty', 'empty/b', 'out', 'out/a']


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_nothing_new_and_the_old_as_it_was(tmp_path, error):
    (tmp_path / 'old').mkdir()
    (tmp_path / 'old/images').touch()
    for name in ('old', 'new'):
        with (
            pytest.raises(error),
            atomic_output(tmp_path / name, overwrite=True, expected=['images']) as work,
        ):
            (work / 'a').touch()
            raise error
    assert content(tmp_path) == ['old', 'old/images']


def test_overwrite_replaces_the_whole(tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/images').touch()
    with atomic_output(tmp_path / 'out', overwrite=True, expected=['images']) as work:
        (work / 'new').touch()
    assert content(tmp_path) == ['out', 'out/new']


def test_refusals(tmp_path):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/thesis.tex').touch()
    (tmp_path / 'file').touch()
    before = content(tmp_path)
    for name, overwrite, message in (
        ('full', False, 'is not empty.*--overwrite'),
        ('full', True, 'holds more than a data set .thesis.tex.'),
        ('file', True, 'is a file'),
        ('file/out', False, 'cannot create'),
    ):
        with (
            pytest.raises(DatasetError, match=message),
            atomic_output(tmp_path / name, overwrite=overwrite, expected=['images']),
        ):
            pytest.fail('the block must not run')
    assert content(tmp_path) == before
