import errno
import os
import signal
import subprocess
import sys

import pytest

from mkbackbones import files
from mkbackbones.files import OutputError, atomic_output


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
            pytest.raises(OutputError, match=message),
            atomic_output(tmp_path / name, overwrite=overwrite, expected=['images']),
        ):
            pytest.fail('the block must not run')
    assert content(tmp_path) == before


KILLED = """
import os, pathlib, signal, sys
from mkbackbones.files import atomic_output
with atomic_output(pathlib.Path(sys.argv[1]), overwrite=True, expected=['images']) as work:
    (work / 'a').touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_run(out):
    result = subprocess.run([sys.executable, '-c', KILLED, str(out)], check=False)
    assert result.returncode == -signal.SIGKILL


def test_the_next_run_removes_what_a_killed_one_left(tmp_path, capsys):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/images').touch()
    for name in ('out', 'other', 'out'):
        kill_a_run(tmp_path / name)
    left = [name for name in content(tmp_path) if name.endswith('.partial')]
    assert len(left) == 2  # the second run on out has removed that of the first
    with atomic_output(tmp_path / 'out', overwrite=True, expected=['images']) as work:
        (work / 'b').touch()
    assert 'which a stopped run left, was removed' in capsys.readouterr().err
    kept = [name for name in content(tmp_path) if name.endswith('.partial')]
    assert len(kept) == 1 and kept[0].startswith('.other.')
    assert content(tmp_path / 'out') == ['b']


def test_running_and_unknown_owners_keep_their_folders(tmp_path):
    (tmp_path / '.out.01234567.partial').mkdir()
    with atomic_output(tmp_path / 'out') as running:
        with atomic_output(tmp_path / 'out', overwrite=True) as second:
            (second / 'b').touch()
        assert running.is_dir()
        (running / 'a').touch()
        # Whoever comes first has the place.
        (tmp_path / 'out/b').unlink()
    assert content(tmp_path) == ['.out.01234567.partial', 'out', 'out/a']


def test_a_former_output_is_put_back(tmp_path, capsys):
    """A run that was stopped between its two renames."""
    (tmp_path / '.out.01234567.partial.owner').touch()
    (tmp_path / '.out.01234567.partial').mkdir()
    (tmp_path / '.out.01234567.former').mkdir()
    (tmp_path / '.out.01234567.former/images').touch()
    with pytest.raises(OutputError, match='is not empty'), atomic_output(tmp_path / 'out'):
        pytest.fail('the block must not run')
    assert content(tmp_path) == ['out', 'out/images']
    assert 'was put back' in capsys.readouterr().err


def no_locks(*unused):
    raise OSError(errno.ENOLCK, 'no locks')


@pytest.mark.parametrize('kind', ['file system', 'Python'])
def test_without_locks_folders_appear_and_nothing_is_taken_for_dead(tmp_path, monkeypatch, kind):
    if kind == 'Python':
        monkeypatch.setattr(files, 'fcntl', None)
        monkeypatch.setattr(files, 'msvcrt', None)
    else:
        monkeypatch.setattr(files, 'locked', no_locks)
    (tmp_path / '.out.12345678.partial').mkdir()
    (tmp_path / '.out.12345678.partial.owner').touch()
    with atomic_output(tmp_path / 'out') as work:
        (work / 'a').touch()
    assert {'out', 'out/a', '.out.12345678.partial'} <= set(content(tmp_path))
    with open(tmp_path / 'lock', 'w') as file, pytest.raises(OSError):
        files.locked(file.fileno())


def test_a_file_on_windows_waits_for_its_readers(tmp_path, monkeypatch):
    """Whoever reads a file keeps it from being replaced there."""
    replace, tries = os.replace, []

    def busy(*paths):
        tries.append(paths)
        if len(tries) < 3:
            raise PermissionError(13, 'in use')
        replace(*paths)

    monkeypatch.setattr(files.os, 'replace', busy)
    monkeypatch.setattr(files, 'WINDOWS', True)
    with files.written_aside(tmp_path / 'a') as work:
        work.write_bytes(b'1')
    assert len(tries) == 3 and (tmp_path / 'a').read_bytes() == b'1'
    monkeypatch.setattr(files, 'WINDOWS', False)
    tries.clear()
    with pytest.raises(PermissionError), files.written_aside(tmp_path / 'a') as work:
        work.write_bytes(b'2')
    assert len(tries) == 1 and content(tmp_path) == ['a']
