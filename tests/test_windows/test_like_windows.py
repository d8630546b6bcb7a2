"""Files, locks, loaders and studies in a Python that lacks what Windows does not have."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from ..test_study.tiny import ROOT, write_study

SITE = Path(__file__).with_name('site')
pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='it is Windows')


def run(*words, cwd=ROOT):
    paths = [str(SITE), str(ROOT), os.environ.get('PYTHONPATH', '')]
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env=env,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding='utf-8',
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_it_is_like_windows():
    code = """
        import multiprocessing, os
        import mkbackbones.files as files
        assert files.fcntl is None and files.msvcrt is not None and not hasattr(os, 'fork')
        assert multiprocessing.get_start_method() == 'spawn'
    """
    run('-c', dedent(code))


def test_a_lock_is_held_by_one_process_and_ends_with_it(tmp_path):
    code = """
        import os, subprocess, sys
        from pathlib import Path
        from mkbackbones.files import locked
        from mkbackbones.study.records.progress import take_lock
        path = Path(sys.argv[1])
        if len(sys.argv) > 2:
            try:
                take_lock(path, 0)
            except BlockingIOError:
                sys.exit(7)
            sys.exit(0)
        again = [sys.executable, *sys.orig_argv[1:], 'child']
        with take_lock(path) as file:
            assert subprocess.call(again) == 7
            assert file.tell() == 0 and path.read_text(encoding='utf-8') == ''
        assert subprocess.call(again) == 0
    """
    run('-c', dedent(code), tmp_path / 'lock')


PARTS = (
    *('tests/test_files.py', 'tests/test_classification/test_decoded.py'),
    *('tests/test_study/test_run/test_schedule.py', 'tests/test_datasets/test_writer.py'),
    'tests/test_runner/test_config_files.py',
)


@pytest.mark.slow
@pytest.mark.parametrize('part', PARTS)
def test_the_tests_of(part):
    out = run('-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-m', 'not slow', part)
    assert ' passed' in out


@pytest.mark.slow
def test_a_study_whose_loaders_are_spawned(tmp_path):
    spawn = "env_cfg=dict(mp_cfg=dict(mp_start_method='spawn'))"
    extra = f"""
        seeds = [0]
        tasks['classification']['options'] = dict({spawn})
    """
    study = write_study(tmp_path, extra=dedent(extra), workers=2)
    command = ('-m', 'mkbackbones', 'study', 'run', study, '--device', 'cpu')
    run(*command, '--work-dir', tmp_path / 'out', cwd=tmp_path)
    results = list((tmp_path / 'out').rglob('result.json'))
    assert len(results) == 2
    assert all(len(json.loads(path.read_text(encoding='utf-8'))['losses']) == 6 for path in results)
