"""Workers are started, watched and ended, here, through submitit and through Ray."""

import os
import subprocess
import sys
import time

import pytest

from mkbackbones.study.executors import LocalExecutor, RayExecutor, SlurmExecutor
from mkbackbones.study.progress import PARENT


def command(monkeypatch, text):
    """Let workers run a shell command instead of a training."""
    for name in ('local', 'slurm', 'ray'):
        monkeypatch.setattr(
            f'mkbackbones.study.executors.{name}.worker_command',
            lambda folder: ['/bin/sh', '-c', text.format(folder=folder)],
        )


def wait(job, seconds=600):
    end = time.monotonic() + seconds
    while job.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    return job.poll()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'run').mkdir()
    return tmp_path / 'run'


class TestLocal:
    def test_a_worker_ends_by_itself(self, folder, monkeypatch):
        command(monkeypatch, 'echo hello; echo x > {folder}/out; exit 1')
        assert wait(LocalExecutor(1, []).submit(folder)) == ''
        assert (folder / 'out').exists()
        assert (folder / 'console.log').read_text() == 'hello\n'

    def test_a_killed_worker_is_told_apart(self, folder, monkeypatch):
        command(monkeypatch, 'kill -9 $$')
        assert 'SIGKILL; the machine may have run out of memory' in wait(
            LocalExecutor(1, []).submit(folder)
        )

    def test_cancel(self, folder, monkeypatch):
        command(monkeypatch, 'exec sleep 60')
        job = LocalExecutor(1, []).submit(folder)
        job.cancel()
        assert 'SIGTERM' in job.poll()

    def test_slots_share_gpus_and_cores(self, monkeypatch):
        monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
        monkeypatch.setattr('mkbackbones.study.share.usable_cores', lambda: 12)
        executor = LocalExecutor(2, ['3', '5'])
        environments = [executor.environment(slot) for slot in range(executor.slots)]
        assert [e['CUDA_VISIBLE_DEVICES'] for e in environments] == ['3', '5', '3', '5']
        assert {e['OMP_NUM_THREADS'] for e in environments} == {'3'}
        assert LocalExecutor(2, []).environment(1)['CUDA_VISIBLE_DEVICES'] == ''

    def test_a_slot_is_free_again_when_its_worker_ended(self, folder, monkeypatch):
        command(monkeypatch, 'exit 0')
        executor = LocalExecutor(1, [])
        for _ in range(3):
            wait(executor.submit(folder))
        assert executor.slots == 1


def test_submitit_on_this_machine(folder, tmp_path, monkeypatch):
    pytest.importorskip('submitit')
    executor = SlurmExecutor(tmp_path / 'logs', parameters=dict(timeout_min=30), cluster='local')
    # Another process picks the job up, so what it runs cannot be replaced: a worker without config.
    job = executor.submit(folder)
    assert wait(job, 1500) == ''
    assert 'config.py' in (folder / 'error.json').read_text()


@pytest.mark.slow
def test_ray_on_this_machine(folder):
    pytest.importorskip('ray')
    executor = RayExecutor(slots=2)
    try:
        assert executor.slots == 2
        assert wait(executor.submit(folder), 1500) == ''
        assert 'config.py' in (folder / 'error.json').read_text()
    finally:
        executor.close()


def test_a_worker_ends_with_whoever_started_it(folder):
    """Otherwise a killed study would leave workers on the GPUs."""
    code = (
        'import sys, time; from pathlib import Path\n'
        'from mkbackbones.study.progress import Heartbeat\n'
        'beat = Heartbeat(Path(sys.argv[1]), True); print("ready", flush=True); time.sleep(3600)'
    )
    script = f"{sys.executable} -c '{code}' {folder} & echo $!; wait"
    parent = subprocess.Popen(['/bin/sh', '-c', script], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert parent.stdout.readline() == 'ready\n'
    parent.kill()
    parent.wait()
    end = time.monotonic() + 600
    while time.monotonic() < end:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail('the worker is still there')


def test_a_worker_whose_starter_ended_before_it_could_look_ends_too(folder):
    code = (
        'import os, time; from pathlib import Path; from mkbackbones.study.progress import *\n'
        f'Heartbeat(Path({str(folder)!r}), True); time.sleep(3600)'
    )
    environment = {**os.environ, PARENT: '1', 'PYTHONPATH': os.pathsep.join(sys.path)}
    code = code.replace('progress import *', 'progress import Heartbeat')
    worker = subprocess.Popen([sys.executable, '-c', code], env=environment)
    assert worker.wait(600) == 1


def test_ctrl_c_does_not_reach_a_worker(folder, monkeypatch):
    """One that is still starting would die of it as if it had failed."""
    command(monkeypatch, 'exec sleep 60')
    job = LocalExecutor(1, []).submit(folder)
    assert os.getpgid(job.process.pid) != os.getpgid(0)
    job.cancel()
