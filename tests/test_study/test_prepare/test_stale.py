"""What a run depends on counts: its start, its weights, its data wherever they lie, its code."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mkbackbones.backbones import ManifoldSwin
from mkbackbones.study.define.plan import Run
from mkbackbones.study.define.spec import StudyError, read_study
from mkbackbones.study.prepare import fingerprint
from mkbackbones.study.prepare.fingerprint import counts, data_hash
from mkbackbones.study.prepare.prepared import prepare_study

from ..tiny import BACKBONE, write_study

TWO = """
    tasks = dict(
        classification=dict(kind='classification', config='classification.py'),
        second=dict(
            kind='classification', config='second.py', initial_weights=dict(task='classification')
        ),
    )
"""


def fingerprint_of(study, task='classification'):
    return prepare_study(read_study(study)).fingerprint(Run('main', task, 'stock', 0))


def test_the_task_that_a_run_starts_from_counts(tmp_path):
    study = write_study(tmp_path, extra=TWO)
    config = tmp_path / 'classification.py'
    shutil.copy(config, tmp_path / 'second.py')
    before = fingerprint_of(study, 'second')
    config.write_text(config.read_text().replace('lr=1e-3', 'lr=2e-2'))
    after = fingerprint_of(study, 'second')
    assert before['initial weights'] != after['initial weights']
    assert before['config'] == after['config']


@pytest.mark.parametrize('by_config', [False, True])
def test_the_content_of_the_initial_weights_counts(tmp_path, by_config):
    file = tmp_path / 'w.pth'
    start = "'config'" if by_config else f"dict(checkpoint='{file}')"
    study = write_study(tmp_path, extra=f'initial_weights = {start}')
    if by_config:
        config = tmp_path / 'classification.py'
        init = f"\nmodel['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint='{file}')\n"
        config.write_text(config.read_text() + init)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        content = io.BytesIO()
        model = {k: v for k, v in BACKBONE.items() if k != 'type'}
        torch.save(ManifoldSwin(**model).state_dict(), content)
        file.write_bytes(content.getvalue())
        found.append(fingerprint_of(study)['initial weights'])
    assert found[0] != found[1] and 'none' not in found


def test_weights_that_hold_more_than_data_are_told_before_anything_runs(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.system, ('touch it_ran',)

    torch.save({'state_dict': {}, 'x': Payload()}, tmp_path / 'w.pth')
    weights = f"initial_weights = dict(checkpoint='{tmp_path}/w.pth')"
    with pytest.raises(StudyError, match=r'system.*trusted'):
        fingerprint_of(write_study(tmp_path, extra=weights))
    assert not Path('it_ran').exists()


def test_linked_folders_count_and_circles_end(tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'data').mkdir()
    (tmp_path / 'elsewhere/a.png').write_text('1')
    (tmp_path / 'data/images').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'elsewhere/back').symlink_to(tmp_path / 'data')
    before = data_hash.__wrapped__(str(tmp_path / 'data'))
    (tmp_path / 'elsewhere/a.png').write_text('2')
    assert data_hash.__wrapped__(str(tmp_path / 'data')) != before


def test_data_outside_of_the_root_count(tmp_path):
    study = write_study(tmp_path)
    config = tmp_path / 'classification.py'
    moved = tmp_path / 'another'
    shutil.copytree(tmp_path / 'folder', moved)
    text = config.read_text()
    where = f"test_dataloader['dataset']['data_root'] = {str(moved)!r}\n"
    config.write_text(f'{text}\n{where}' if 'test_dataloader' in text else text)
    before = fingerprint_of(study)['data']
    next(moved.rglob('*.png')).write_bytes(b'another picture')
    data_hash.cache_clear()
    assert fingerprint_of(study)['data'] != before


@pytest.fixture(scope='module')
def package(tmp_path_factory):
    """A copy of the package to change."""
    folder = tmp_path_factory.mktemp('copy') / 'mkbackbones'
    ignored = shutil.ignore_patterns('__pycache__', '.mim')
    shutil.copytree(fingerprint.PACKAGE, folder, ignore=ignored)
    return folder


@pytest.mark.parametrize(
    'name',
    ['study/evidence/detection.py', 'study/evidence/matching.py', 'cost.py', 'attention/qkv.py',
     'datasets/openmmlab/detection.py', 'datasets/metainfo.py', 'runner/build.py',
     'runner/precision.py', 'study/worker/main.py', 'keys/kua.py', 'a_new_file.py'],
)  # fmt: skip
def test_code_of_a_run_counts(package, monkeypatch, name):
    monkeypatch.setattr(fingerprint, 'PACKAGE', package)
    before = fingerprint.code_hash.__wrapped__()
    with (package / name).open('a') as file:
        file.write('\nX = 1\n')
    assert fingerprint.code_hash.__wrapped__() != before


@pytest.mark.parametrize('name', ['study/report/page.py', 'leakage/check.py', 'commands/train.py'])
def test_code_that_no_run_passes_through_does_not(name):
    assert not counts(Path(name))


@pytest.mark.parametrize('name', fingerprint.NOT_IN_A_RUN)
def test_what_does_not_count_is_there(name):
    """A file that was moved would count again, or what took its name would not."""
    assert (fingerprint.PACKAGE / name).exists()


def test_everything_that_a_worker_imports_counts(tmp_path):
    """The list of what does not count, held against a run."""
    prepared = prepare_study(read_study(write_study(tmp_path)))
    folder = tmp_path / 'run'
    folder.mkdir()
    cfg = prepared.config(Run('main', 'classification', 'spatial', 0))
    (folder / 'config.py').write_text(cfg.pretty_text)
    code = (
        'import sys\n'
        'from mkbackbones.study.worker.main import main\n'
        'assert main([sys.argv[1]]) == 0\n'
        'print(*[m.__file__ for n, m in sys.modules.items() '
        "if n.split('.')[0] == 'mkbackbones' and getattr(m, '__file__', None)], sep='\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, '-c', code, str(folder)], capture_output=True, text=True, check=True
    )
    files = [line for line in done.stdout.splitlines() if line.endswith('.py')]
    names = [Path(line).relative_to(fingerprint.PACKAGE) for line in files if 'mkbackbones' in line]
    left_out = sorted(str(name) for name in names if not counts(name))
    assert len(names) > 40
    # Read on import of their packages; what they do happens before a run or after it.
    assert set(left_out) <= KNOWN, left_out


KNOWN = {
    'attention/inject.py',
    'checkpoints/write.py',
    'datasets/public/__init__.py',
    'datasets/public/neu_det.py',
    'datasets/public/neu_seg.py',
    'datasets/synthetic.py',
    'datasets/textures.py',
    'version.py',
}


def test_the_commit_of_a_repository_around_an_installed_package_is_not_ours(tmp_path, monkeypatch):
    package = tmp_path / 'venv/mkbackbones'
    package.mkdir(parents=True)
    (package / '__init__.py').write_text('')
    git = ['git', '-C', str(tmp_path), '-c', 'user.name=a', '-c', 'user.email=a@b']
    (tmp_path / '.gitignore').write_text('venv/')
    for command in (['init', '-q'], ['add', '.gitignore'], ['commit', '-qm', 'x']):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(fingerprint, 'PACKAGE', package)
    assert fingerprint.commit.__wrapped__() == ''
    (tmp_path / '.gitignore').write_text('')
    subprocess.run([*git, 'add', '-A'], check=True)
    subprocess.run([*git, 'commit', '-qm', 'y'], check=True)
    assert fingerprint.commit.__wrapped__() != ''


class TestKnownHashes:
    """Data are read once, and again whenever a file has another size or time of change."""

    @pytest.fixture
    def data(self, tmp_path, monkeypatch):
        monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
        monkeypatch.setattr('mkbackbones.caches.SETTLED_SECONDS', 0)
        (tmp_path / 'data' / 'a').mkdir(parents=True)
        (tmp_path / 'data' / 'a' / 'x').write_text('one')
        return tmp_path / 'data'

    def test_the_second_time_nothing_is_read(self, data, monkeypatch):
        found = data_hash.__wrapped__(str(data))
        kept = os.stat(data / 'a' / 'x')
        (data / 'a' / 'x').write_text('two')
        os.utime(data / 'a' / 'x', ns=(kept.st_atime_ns, kept.st_mtime_ns))
        assert data_hash.__wrapped__(str(data)) == found
        assert data_hash.__wrapped__(str(data), verify=True) != found

    @pytest.mark.parametrize('text, later', [('two', 1), ('four', 0)])
    def test_a_change_of_time_or_size_is_seen(self, data, text, later):
        found = data_hash.__wrapped__(str(data))
        kept = os.stat(data / 'a' / 'x')
        (data / 'a' / 'x').write_text(text)
        os.utime(data / 'a' / 'x', ns=(kept.st_atime_ns, kept.st_mtime_ns + later))
        assert data_hash.__wrapped__(str(data)) != found

    def test_what_changed_a_moment_ago_is_not_kept(self, data, monkeypatch):
        monkeypatch.setattr('mkbackbones.caches.SETTLED_SECONDS', 3600)
        data_hash.__wrapped__(str(data))
        assert not (data.parent / 'cache').exists()

    @pytest.mark.parametrize('content', ['', 'x' * 12, '../../etc', '\x00'])
    def test_a_damaged_entry_is_not_believed(self, data, content):
        found = data_hash.__wrapped__(str(data))
        (entry,) = (data.parent / 'cache' / 'mkbackbones' / 'data').iterdir()
        entry.write_text(content)
        assert data_hash.__wrapped__(str(data)) == found

    def test_without_a_place_for_it_data_are_hashed_all_the_same(self, data, monkeypatch):
        found = data_hash.__wrapped__(str(data))
        monkeypatch.setenv('XDG_CACHE_HOME', '/proc/nowhere')
        assert data_hash.__wrapped__(str(data)) == found
