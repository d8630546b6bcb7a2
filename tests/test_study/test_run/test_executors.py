"""Workers are started, watched and ended, here, through submitit and through Ray."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mkbackbones.commands.study import main
from mkbackbones.study.define.plan import Run
from mkbackbones.study.define.spec import read_study
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.records.plain_config import write_config
from mkbackbones.study.records.progress import PARENT
from mkbackbones.study.run.executors import LocalExecutor, RayExecutor, SlurmExecutor
from mkbackbones.study.run.executors.cluster_job import ClusterJob
from mkbackbones.study.run.executors.ray import check_answers

from ..tiny import write_study


def command(monkeypatch, text):
    """Let workers run a shell command instead of a training."""
    for name in ('local', 'cluster_job'):
        monkeypatch.setattr(
            f'mkbackbones.study.run.executors.{name}.worker_command',
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
        monkeypatch.setattr('mkbackbones.study.worker.share.usable_cores', lambda: 12)
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


def training(folder):
    """Wait until the worker of a folder trains; return its process."""
    end = time.monotonic() + 1500
    while True:
        try:
            state = json.loads((folder / 'progress.json').read_text())
            if state['phase'] == 'training' and state['iter']:
                return state['pid']
        except (OSError, ValueError):
            pass
        assert time.monotonic() < end
        time.sleep(0.05)


def parent_of(process):
    return int(re.search(r'PPid:\s+(\d+)', Path(f'/proc/{process}/status').read_text())[1])


@pytest.fixture
def long_run(folder, tmp_path):
    """The folder of a run that takes a while."""
    prepared = prepare_study(read_study(write_study(tmp_path)))
    cfg = prepared.config(Run('main', 'classification', 'stock', 0))
    cfg.train_cfg.update(max_iters=600, val_interval=600)
    write_config(folder, cfg)
    return folder


@pytest.mark.slow
def test_a_job_that_the_queue_takes_off_and_queues_again_goes_on(long_run, tmp_path):
    pytest.importorskip('submitit')
    executor = SlurmExecutor(tmp_path / 'logs', parameters=dict(timeout_min=30), cluster='local')
    job = executor.submit(long_run)
    first = training(long_run)
    while not (long_run / 'latest.pth').exists():
        time.sleep(0.05)
    # What Slurm does before it takes a job off its node, or at its time limit.
    os.kill(parent_of(first), signal.SIGUSR2)
    assert wait(job, 1500) == ''
    result = json.loads((long_run / 'result.json').read_text())
    assert len(result['losses']) == 600
    assert json.loads((long_run / 'progress.json').read_text())['pid'] != first


def test_work_can_be_queued_again(folder, monkeypatch):
    """The worker has ended when it is, so that the next one finds the folder free."""
    pytest.importorskip('submitit')
    command(monkeypatch, 'exec sleep 60')
    work = ClusterJob()
    codes = []
    thread = threading.Thread(target=lambda: codes.append(work(str(folder))))
    thread.start()
    while work.process is None:
        time.sleep(0.01)
    again = work.checkpoint(str(folder))
    thread.join(600)
    assert codes == [-signal.SIGTERM]
    assert isinstance(again.function, ClusterJob) and again.args == (str(folder),)


@pytest.fixture(scope='module')
def ray_executor():
    pytest.importorskip('ray')
    executor = RayExecutor(slots=2)
    yield executor
    executor.close()


@pytest.mark.slow
class TestRay:
    def test_on_this_machine(self, ray_executor, folder):
        assert ray_executor.slots == 2
        assert wait(ray_executor.submit(folder), 1500) == ''
        assert 'config.py' in (folder / 'error.json').read_text()

    def test_a_worker_that_is_killed_is_told_and_its_run_goes_on(self, ray_executor, long_run):
        job = ray_executor.submit(long_run)
        os.kill(training(long_run), signal.SIGKILL)
        assert wait(job, 1500) == 'the worker was ended by signal 9'
        assert wait(ray_executor.submit(long_run), 1500) == ''
        assert len(json.loads((long_run / 'result.json').read_text())['losses']) == 600

    def test_a_task_that_ray_loses_takes_its_worker_along(self, ray_executor, long_run):
        job = ray_executor.submit(long_run)
        worker = training(long_run)
        os.kill(parent_of(worker), signal.SIGKILL)
        assert wait(job, 1500).startswith('Ray lost the worker')
        end = time.monotonic() + 600
        while Path(f'/proc/{worker}').exists() and time.monotonic() < end:
            time.sleep(0.1)
        assert not Path(f'/proc/{worker}').exists()


@pytest.mark.parametrize(
    'address, words',
    [
        ('127.0.0.1:1', 'nothing answers at 127.0.0.1:1'),
        ('ray://127.0.0.1:1', 'nothing answers at ray://127.0.0.1:1'),
        ('no.such.host.invalid:6379', 'nothing answers at no.such.host.invalid:6379'),
        ('127.0.0.1:99999999', 'nothing answers at'),
        ('somewhere', "'somewhere' is no address; give HOST:PORT or ray://HOST:PORT"),
    ],
)
def test_an_address_where_nobody_is(tmp_path, capsys, address, words):
    pytest.importorskip('ray')
    study = write_study(tmp_path)
    args = ['run', str(study), '--executor', 'ray', '--ray-address', address, '--device', 'cpu']
    assert main(args) == 2
    err = capsys.readouterr().err
    assert f'error: --ray-address {address}: {words}' in err and len(err.splitlines()) == 1


def test_an_address_where_another_program_is(monkeypatch):
    """It takes the connection and says nothing: Ray itself would wait for minutes."""
    pytest.importorskip('ray')
    monkeypatch.setattr('mkbackbones.study.run.executors.ray.HEALTH_SECONDS', 3)
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        with pytest.raises(ConnectionError, match='is no Ray cluster'):
            check_answers(f'127.0.0.1:{other.getsockname()[1]}')


def test_a_worker_ends_with_whoever_started_it(folder):
    """Otherwise a killed study would leave workers on the GPUs."""
    code = (
        'import sys, time; from pathlib import Path\n'
        'from mkbackbones.study.records.progress import Heartbeat\n'
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
        'import os, time; from pathlib import Path\n'
        'from mkbackbones.study.records.progress import *\n'
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
