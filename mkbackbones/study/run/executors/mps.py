"""CUDA's Multi-Process Service for runs that share a GPU.

Without it the processes on a GPU take turns, and several runs together are hardly faster than one
after the other. https://docs.nvidia.com/deploy/mps
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ['PIPE', 'Service', 'multi_process_service']

CONTROL = 'nvidia-cuda-mps-control'
PIPE = 'CUDA_MPS_PIPE_DIRECTORY'
LOG = 'CUDA_MPS_LOG_DIRECTORY'
GPUS = 'CUDA_VISIBLE_DEVICES'
ANSWER_SECONDS = 20
#: Waits until whoever started it has ended, however it ended, and ends the daemon then.
GUARD = f'cat > /dev/null; echo quit -t 10 | {CONTROL}; rm -rf "$1"'


@dataclass
class Service:
    """What the workers of a study need to know.

    Args:
        environment (dict[str, str]): Goes to every worker.
        numbered (bool): Workers count GPUs from 0 among those the daemon was given, as a private
            daemon makes them.
        note (str): What the user should know; empty where all is well.
    """

    environment: dict[str, str] = field(default_factory=dict)
    numbered: bool = False
    note: str = ''


@contextlib.contextmanager
def multi_process_service(gpus: list[str], slots: int) -> Iterator[Service]:
    """Let runs share GPUs through the service: one that is there, else one of our own.

    A daemon of our own has its pipe in a temporary folder, so it meets no other one. It ends with
    the ``with`` block, and with this process if that is killed.

    Args:
        gpus (list[str]): GPUs as ``CUDA_VISIBLE_DEVICES`` names them; empty for the CPU.
        slots (int): Runs at the same time on each.

    Yields:
        Service: What the workers need to know.
    """
    lost = (
        f'{slots} runs share a GPU without CUDA MPS, so they take turns on it and gain little over '
        'one after the other'
    )
    if not gpus or slots < 2 or os.environ.get(PIPE):
        yield Service()
    elif shutil.which(CONTROL) is None:
        yield Service(note=f'{lost}: there is no {CONTROL} on the PATH')
    elif answers(dict(os.environ)):
        yield Service()
    else:
        folder = Path(tempfile.mkdtemp(prefix='mkbackbones-mps-'))
        with contextlib.ExitStack() as stack:
            reason = start(folder, gpus, stack)
            if reason:
                yield Service(note=f'{lost}: {reason}')
            else:
                yield Service({PIPE: str(folder / 'pipe'), LOG: str(folder / 'log')}, True)


def start(folder: Path, gpus: list[str], stack: contextlib.ExitStack) -> str:
    """Start a daemon that ends with the stack; return why that failed, or nothing.

    Args:
        folder (Path): Folder for its pipe and its log; it goes with the daemon.
        gpus (list[str]): The GPUs it may use.
        stack (ExitStack): Ends it.
    """
    for name in ('pipe', 'log'):
        (folder / name).mkdir()
    places = {PIPE: str(folder / 'pipe'), LOG: str(folder / 'log')}
    environment = {**os.environ, **places, GPUS: ','.join(gpus)}
    # Sessions of their own: Ctrl-C is for the study, which ends its workers before the daemon.
    guard = subprocess.Popen(
        ['/bin/sh', '-c', GUARD, 'guard', str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    stack.callback(end, guard)
    try:
        subprocess.run(
            [CONTROL, '-d'],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=ANSWER_SECONDS,
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f'{CONTROL} -d failed: {error}'
    return '' if answers(environment) else f'{CONTROL} -d was started and does not answer'


def end(guard: subprocess.Popen) -> None:
    """Let the guard end the daemon, and wait for it."""
    if guard.stdin is not None:
        guard.stdin.close()
    try:
        guard.wait(ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()


def answers(environment: dict[str, str]) -> bool:
    """Whether a daemon answers at the pipe of an environment."""
    try:
        done = subprocess.run(
            [CONTROL],
            input='get_server_list\n',
            capture_output=True,
            encoding='utf-8',
            env=environment,
            timeout=ANSWER_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
