"""Workers forked from a warm process behave as workers started from nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from mmengine.config import Config

from mkbackbones.study.define.plan import Run
from mkbackbones.study.define.spec import read_study
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.records.plain_config import config_text, is_plain, write_config
from mkbackbones.study.run.executors import LocalExecutor, warm

from ..tiny import ROOT, write_study
from .test_executors import wait

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='forks on Linux alone')


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    return prepare_study(read_study(write_study(tmp_path_factory.mktemp('study'))))


def ready(prepared, folder, workers=0, **train_cfg):
    """A folder with the config of a run in it."""
    cfg = prepared.config(Run('main', 'classification', 'stock', 0))
    cfg.train_dataloader.num_workers = workers
    cfg.train_cfg.update(train_cfg)
    folder.mkdir(parents=True)
    write_config(folder, cfg)
    return folder


def numbers(folder):
    content = json.loads((folder / 'result.json').read_text())
    return {key: content[key] for key in ('metrics', 'losses', 'val_curve', 'lr')}


def test_the_same_numbers_as_from_nothing(executor, prepared, tmp_path):
    folders = [ready(prepared, tmp_path / name / 'a' / 'b' / 'c') for name in ('warm', 'cold')]
    cold = LocalExecutor(2, [])
    assert [wait(executor.submit(folders[0])), wait(cold.submit(folders[1]))] == ['', '']
    assert numbers(folders[0]) == numbers(folders[1])
    assert executor.warm.process.poll() is None


def test_a_run_that_fails_leaves_its_words_and_its_output(executor, tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    assert wait(executor.submit(folder)) == ''
    assert 'config.py' in (folder / 'error.json').read_text()
    assert 'Traceback' in (folder / 'console.log').read_text()


def running(executor, prepared, folder, workers=0):
    """A worker that trains for ever, and its process."""
    ready(prepared, folder, workers=workers, max_iters=10**6, val_interval=10**6)
    job = executor.submit(folder)
    end = time.monotonic() + 600
    while True:
        try:
            state = json.loads((folder / 'progress.json').read_text())
            if state['phase'] == 'training':
                return job, state['pid']
        except (OSError, ValueError):
            pass
        assert time.monotonic() < end and job.poll() is None
        time.sleep(0.05)


def test_cancel_and_kill_are_told_apart(executor, prepared, tmp_path):
    job, _ = running(executor, prepared, tmp_path / 'a')
    job.cancel()
    assert 'SIGTERM' in job.poll()
    job, process = running(executor, prepared, tmp_path / 'b', workers=2)
    assert os.getpgid(process) != os.getpgid(0)  # out of the reach of Ctrl-C
    os.kill(process, signal.SIGKILL)
    assert 'SIGKILL; the machine may have run out of memory' in wait(job)
    with pytest.raises(ProcessLookupError):  # nothing of its data loader stays
        for _ in range(600):
            os.killpg(process, 0)
            time.sleep(0.1)


def test_when_the_warm_process_is_gone_its_workers_end_and_others_start_from_nothing(
    prepared, tmp_path, monkeypatch
):
    executor = LocalExecutor(2, [], warm=True)
    job, process = running(executor, prepared, tmp_path / 'a')
    executor.warm.process.kill()
    assert wait(job)
    end = time.monotonic() + 600
    while time.monotonic() < end:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail('the worker is still there')
    monkeypatch.setattr(
        'mkbackbones.study.run.executors.local.worker_command',
        lambda folder: ['touch', str(folder / 'from nothing')],
    )
    folder = tmp_path / 'run'
    folder.mkdir()
    assert wait(executor.submit(folder)) == '' and (folder / 'from nothing').exists()
    executor.close()


def test_it_has_no_threads(executor, tmp_path):
    """Else a fork of it could hang."""
    wait(executor.submit(tmp_path))  # by then it has imported all that it will
    assert len(os.listdir(f'/proc/{executor.warm.process.pid}/task')) == 1


@pytest.mark.slow
def test_it_imports_without_threads_or_a_word_to_cuda():
    """Else a fork of it could hang, or could not use the GPU."""
    code = (
        'import importlib, os, sys\nfrom mkbackbones.study.run.executors.warm import MODULES\n'
        'for name in MODULES: importlib.import_module(name)\nimport torch\n'
        'assert not torch.cuda.is_initialized()\n'
        'print(len(os.listdir("/proc/self/task")))'
    )
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', warm.NVML: '1'}
    done = subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1:] == ['1'], done.stderr[-2000:]


@pytest.mark.parametrize(
    'content',
    [
        dict(a=dict(b=[1, (2.5, None)], c='{"x"}\n', e=(), f={}), d=True, g=(1,)),
        dict(long=[dict(type='x' * 40, n=n, deep=dict(x=[[n] * 30])) for n in range(9)]),
        dict(a={'lambda': dict(b=2)}),
        dict(a={'val.interval': 3, 'if': 'x'}, b=float('inf')),
        {'not an identifier': 1},
    ],
)
def test_a_plain_config_reads_as_it_was(content, tmp_path):
    cfg = Config(content)
    (tmp_path / 'config.py').write_text(config_text(cfg))
    assert max(map(len, config_text(cfg).splitlines())) <= 104
    if is_plain(content) and all(map(str.isidentifier, content)):
        assert Config.fromfile(tmp_path / 'config.py').to_dict() == content
    else:  # as mmengine has it, for better or worse
        assert config_text(cfg) == cfg.pretty_text
