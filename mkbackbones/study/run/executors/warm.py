"""Workers forked from a process that has imported the libraries already.

Importing torch and the OpenMMLab libraries takes longer than building a network. The process that
forks does so once, and nothing else: it computes nothing, so it starts no threads of its own, and
looks for GPUs through NVML alone, since a process that has talked to CUDA cannot be forked. A
worker that finds CUDA spoilt all the same, or whose config asks for what was not imported
(:mod:`mkbackbones.late_imports`), starts anew, as it would without this module.

``python -m mkbackbones.study.run.executors.warm`` reads requests, a JSON object a line, and
writes one line for each worker that has ended. It ends with its standard input.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from ....garbage import collected_later
from ....late_imports import asks, is_put_off, put_off
from ...records.progress import PARENT
from ...records.run_folder import config_of
from .base import worker_command

__all__ = ['WarmStart']

#: What a worker imports, in the order of imports; what is missing is left to the worker.
MODULES = (
    *('torch', 'torchvision.transforms.v2', 'matplotlib.pyplot', 'mmengine.runner'),
    *('mmengine.visualization', 'mkbackbones', 'mkbackbones.study.worker.main'),
    *('mkbackbones.study.worker.training', 'mkbackbones.study.worker.collect', 'mkbackbones.cost'),
    *('mkbackbones.runner.build', 'mkbackbones.runner.precision', 'mkbackbones.classification'),
    *(f'{name}.{part}' for name in ('mmdet', 'mmseg') for part in ('models', 'datasets')),
    *(f'{name}.{part}' for name in ('mmdet', 'mmseg') for part in ('evaluation', 'engine')),
    'mkbackbones.datasets.openmmlab',
)
NVML = 'PYTORCH_NVML_BASED_CUDA_CHECK'


class WarmStart:
    """Starts workers by asking the process that forks them.

    Args:
        environment (dict[str, str]): Of that process; threads are counted as its libraries load.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, '-m', __spec__.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, NVML: '1'},
            start_new_session=True,  # Ctrl-C is for the study
        )
        assert self.process.stdin is not None and self.process.stdout is not None  # pipes
        self.requests, self.answers = self.process.stdin, self.process.stdout
        os.set_blocking(self.answers.fileno(), False)
        self.numbers = itertools.count()
        self.codes: dict[int, int] = {}
        self.unread = b''

    def start(self, folder: Path, environment: dict[str, str]) -> int | None:
        """Start the worker of a folder; return its number, or None where that cannot be done."""
        number = next(self.numbers)
        request = {'number': number, 'folder': str(folder), 'environment': environment}
        return number if self.ask(request) else None

    def ask(self, request: dict) -> bool:
        """Send a request; return whether there is anyone to take it."""
        if self.process.poll() is not None:
            return False
        try:
            self.requests.write(json.dumps(request).encode() + b'\n')
            self.requests.flush()
        except OSError:
            return False
        return True

    def poll(self, number: int) -> int | None:
        """Exit code of a worker, a negative signal included; None while it runs."""
        # Before the reading: what it has written by now is all there is.
        alone = self.process.poll() is not None
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.answers.fileno(), 1 << 16):
                self.unread += part
        *lines, self.unread = self.unread.split(b'\n')
        for line in lines:
            content = json.loads(line)
            self.codes[content['number']] = content['code']
        if alone:  # its workers end with it
            return self.codes.get(number, -signal.SIGTERM)
        return self.codes.get(number)

    def signal(self, number: int, name: int) -> None:
        """Send a signal to a worker that has not ended."""
        self.ask({'number': number, 'signal': int(name)})

    def close(self) -> None:
        """End the process, which ends what it has started."""
        self.requests.close()
        self.process.terminate()
        self.process.wait()
        self.answers.close()


def serve(reports: int) -> dict | None:
    """Fork a worker for each request.

    Args:
        reports (int): File to write to which workers have ended.

    Returns:
        dict | None: In a worker its request; None where there will be no more requests.
    """
    wake, alarm = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *unused: None)
    workers: dict[int, int] = {}
    unread = b''
    while True:
        ready, _, _ = select.select([0, wake], [], [])
        if wake in ready:
            os.read(wake, 1 << 12)
            reap(workers, reports)
        if 0 not in ready:
            continue
        part = os.read(0, 1 << 16)
        if not part:
            return None
        *lines, unread = (unread + part).split(b'\n')
        for line in lines:
            request = json.loads(line)
            if 'signal' in request:
                for process, number in workers.items():
                    if number == request['number']:
                        signal_group(process, request['signal'])
                continue
            process = os.fork()
            if not process:
                signal.set_wakeup_fd(-1)
                for file in (wake, alarm, reports):
                    os.close(file)
                return request
            workers[process] = request['number']


def reap(workers: dict[int, int], reports: int) -> None:
    """Tell which workers have ended, and how."""
    for process, number in list(workers.items()):
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            del workers[process]
            signal_group(process, signal.SIGKILL)  # what its data loaders may have left
            content = {'number': number, 'code': os.waitstatus_to_exitcode(status)}
            os.write(reports, json.dumps(content).encode() + b'\n')


def signal_group(process: int, name: int) -> None:
    """Send a signal to a worker and to what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, name)


def become_worker(request: dict) -> int:
    """Do a worker's work in a process that was just forked; return its exit code."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = Path(request['folder'])
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(folder / 'console.log', os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)
    os.environ.clear()
    os.environ.update(request['environment'])
    os.environ[PARENT] = str(os.getppid())

    import torch

    from ...worker.main import main

    needs_more = is_put_off() and asks(config_of(folder))
    if torch.cuda._is_in_bad_fork() or needs_more:
        os.execvpe(sys.executable, worker_command(folder), os.environ)
    return main([str(folder)])


if __name__ == '__main__':
    reports = os.dup(1)
    os.dup2(2, 1)  # libraries print as they are imported
    put_off()
    with collected_later():  # so that no worker looks through, and copies, what all share
        for module in MODULES:
            with contextlib.suppress(Exception):
                importlib.import_module(module)
    found = serve(reports)
    sys.exit(0 if found is None else become_worker(found))
