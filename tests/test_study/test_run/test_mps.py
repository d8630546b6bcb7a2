"""CUDA's Multi-Process Service, with a control program that writes down what it is asked."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mkbackbones.study.run.executors import LocalExecutor
from mkbackbones.study.run.executors.mps import PIPE, multi_process_service

from ..tiny import ROOT

CONTROL = """#!/bin/sh
pipe=${CUDA_MPS_PIPE_DIRECTORY:-$FAKE_MPS/default}
if [ "$1" = -d ]; then
    echo "start $pipe $CUDA_VISIBLE_DEVICES" >> "$FAKE_MPS/calls"
    [ -e "$FAKE_MPS/broken" ] || touch "$pipe/control"
    exit 0
fi
read -r line
[ -e "$pipe/control" ] || exit 1
case $line in quit*) echo "quit $pipe" >> "$FAKE_MPS/calls"; rm "$pipe/control" ;; esac
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """A control program on the PATH; gives a function that tells what it was asked."""
    program = tmp_path / 'bin' / 'nvidia-cuda-mps-control'
    program.parent.mkdir()
    program.write_text(CONTROL)
    program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{program.parent}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setenv('FAKE_MPS', str(tmp_path))
    monkeypatch.delenv(PIPE, raising=False)
    log = tmp_path / 'calls'
    return lambda: [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def test_a_daemon_of_our_own_lives_as_long_as_the_executor(calls):
    executor = LocalExecutor(3, ['2', '5'])
    environments = [executor.environment(slot) for slot in range(executor.slots)]
    (pipe,) = {environment[PIPE] for environment in environments}
    assert calls() == [['start', pipe, '2,5']]
    # The daemon numbers the GPUs that it was given from 0.
    assert [e['CUDA_VISIBLE_DEVICES'] for e in environments] == ['0', '1'] * 3
    assert executor.notes == () and os.path.exists(pipe)
    executor.close()
    assert calls()[1:] == [['quit', pipe]]
    assert not os.path.exists(pipe) and not os.path.exists(os.path.dirname(pipe))


def test_it_ends_after_an_error_too(calls):
    with pytest.raises(KeyboardInterrupt), multi_process_service(['0'], 2):
        raise KeyboardInterrupt
    assert [call[0] for call in calls()] == ['start', 'quit']


def test_it_ends_with_a_process_that_is_killed(calls):
    code = (
        'import time\nfrom mkbackbones.study.run.executors.mps import multi_process_service\n'
        'with multi_process_service(["0"], 2): print("ready", flush=True); time.sleep(3600)'
    )
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, '-c', code], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'ready\n'
    process.send_signal(signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 300
    while len(calls()) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert [call[0] for call in calls()] == ['start', 'quit']


@pytest.mark.parametrize('gpus, slots', [([], 4), (['0', '1'], 1)])
def test_none_where_no_runs_share_a_gpu(calls, gpus, slots):
    with multi_process_service(gpus, slots) as service:
        assert service.environment == {} and not service.note
    assert calls() == []


def test_one_that_the_user_named_is_used_and_left_alone(calls, monkeypatch):
    monkeypatch.setenv(PIPE, '/somewhere')
    executor = LocalExecutor(2, ['5'])
    assert executor.environment(0)[PIPE] == '/somewhere'
    assert executor.environment(0)['CUDA_VISIBLE_DEVICES'] == '5'
    executor.close()
    assert calls() == []


def test_one_that_answers_is_used_and_left_alone(calls, tmp_path):
    (tmp_path / 'default').mkdir()
    (tmp_path / 'default' / 'control').touch()
    executor = LocalExecutor(2, ['5'])
    assert PIPE not in executor.environment(0)
    executor.close()
    assert calls() == [] and (tmp_path / 'default' / 'control').exists()


def test_what_is_lost_without_it_is_said(calls, tmp_path, monkeypatch):
    (tmp_path / 'broken').touch()
    executor = LocalExecutor(2, ['0'])
    assert 'does not answer' in executor.notes[0]
    executor.close()
    monkeypatch.setenv('PATH', '/nowhere')
    executor = LocalExecutor(2, ['0'])
    assert executor.notes == (
        '2 runs share a GPU without CUDA MPS, so they take turns on it and gain little over one '
        'after the other: there is no nvidia-cuda-mps-control on the PATH',
    )
    assert PIPE not in executor.environment(0)
