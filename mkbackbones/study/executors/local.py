"""Workers as processes of this machine, spread over its GPUs or, without any, its cores."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ..mps import multi_process_service
from ..progress import PARENT
from ..share import CORES, share_of_cores
from .base import Executor, Job, worker_command
from .warm import WarmStart

__all__ = ['LocalExecutor']

TERM_SECONDS = 10


class LocalJob(Job):
    """A process in a slot.

    Args:
        slot (int): The slot.
    """

    def __init__(self, slot: int) -> None:
        self.slot = slot

    def code(self) -> int | None:
        """Exit code, a negative signal included; None while it runs."""
        raise NotImplementedError

    def signal(self, name: int) -> None:
        """Send it a signal."""
        raise NotImplementedError

    def poll(self) -> str | None:
        code = self.code()
        if code is None or code >= 0:
            return None if code is None else ''
        name = signal.Signals(-code).name
        memory = '; the machine may have run out of memory' if name == 'SIGKILL' else ''
        return f'the worker was ended by {name}{memory}'

    def cancel(self) -> None:
        for name in (signal.SIGTERM, signal.SIGKILL):
            if self.code() is None:
                self.signal(name)
            end = time.monotonic() + TERM_SECONDS
            while self.code() is None and time.monotonic() < end:
                time.sleep(0.02)


class ColdJob(LocalJob):
    """A process of its own from the start."""

    def __init__(self, slot: int, process: subprocess.Popen) -> None:
        super().__init__(slot)
        self.process = process

    def code(self) -> int | None:
        return self.process.poll()

    def signal(self, name: int) -> None:
        self.process.send_signal(name)


class WarmJob(LocalJob):
    """A process forked from one that has imported the libraries."""

    def __init__(self, slot: int, start: WarmStart, number: int) -> None:
        super().__init__(slot)
        self.start = start
        self.number = number

    def code(self) -> int | None:
        return self.start.poll(self.number)

    def signal(self, name: int) -> None:
        self.start.signal(self.number, name)


class LocalExecutor(Executor):
    """Processes of this machine.

    Small models leave most of a GPU idle, so several runs on one are faster together than one after
    the other, where CUDA's Multi-Process Service lets them compute at the same time: with more than
    one slot a GPU the executor sees to that, see :func:`multi_process_service`.

    Args:
        slots (int): Processes at the same time: for each GPU, or in all without one.
        gpus (list[str]): GPUs as ``CUDA_VISIBLE_DEVICES`` names them; empty for the CPU.
        warm (bool): Fork workers from a process that has imported the libraries (on Linux).
    """

    def __init__(self, slots: int = 1, gpus: list[str] | None = None, warm: bool = False) -> None:
        self.gpus = visible_gpus() if gpus is None else gpus
        self.slots = slots * max(len(self.gpus), 1)
        self.free = list(range(self.slots))
        self.jobs: list[LocalJob] = []
        self.warm: WarmStart | None = None
        if warm and sys.platform == 'linux':  # first, as it takes a while
            visible = {'CUDA_VISIBLE_DEVICES': ','.join(self.gpus)}
            self.warm = WarmStart({**os.environ, **self.threads(), **visible})
        self.held = contextlib.ExitStack()
        self.service = self.held.enter_context(multi_process_service(self.gpus, slots))
        self.notes = (self.service.note,) if self.service.note else ()

    def close(self) -> None:
        for job in self.jobs:  # which a daemon that ends would take down
            job.cancel()
        self.jobs.clear()
        if self.warm is not None:
            self.warm.close()
        self.warm = None
        self.held.close()

    def submit(self, folder: Path) -> LocalJob:
        for job in [job for job in self.jobs if job.code() is not None]:
            self.jobs.remove(job)
            self.free.append(job.slot)
        slot = min(self.free)
        self.free.remove(slot)
        job = self.start_warm(folder, slot) or self.start_cold(folder, slot)
        self.jobs.append(job)
        return job

    def start_warm(self, folder: Path, slot: int) -> LocalJob | None:
        """Fork a worker; None where that cannot be done."""
        if self.warm is None:
            return None
        number = self.warm.start(folder.resolve(), self.environment(slot))
        return None if number is None else WarmJob(slot, self.warm, number)

    def start_cold(self, folder: Path, slot: int) -> LocalJob:
        """Start a worker from nothing."""
        with open(folder / 'console.log', 'ab') as log:
            process = subprocess.Popen(
                worker_command(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(slot),
                # Ctrl-C is for the study, which ends its workers: one that is still starting
                # would die of it with a traceback, as if it had failed.
                start_new_session=True,
            )
        return ColdJob(slot, process)

    def threads(self) -> dict[str, str]:
        """A worker's share of the cores, unless the user has set it."""
        cores = str(share_of_cores(self.slots))
        return {name: os.environ.get(name, cores) for name in ('OMP_NUM_THREADS', CORES)}

    def environment(self, slot: int) -> dict[str, str]:
        """Environment of the worker in a slot: its GPU, and its share of the cores."""
        index = slot % max(len(self.gpus), 1)
        gpu = self.gpus[index] if self.gpus else ''
        if self.service.numbered and gpu.isdigit():
            gpu = str(index)
        return {
            **os.environ,
            **self.threads(),
            **self.service.environment,
            'CUDA_VISIBLE_DEVICES': gpu,
            PARENT: str(os.getpid()),
        }


def visible_gpus() -> list[str]:
    """Names of the GPUs that CUDA may use, as ``CUDA_VISIBLE_DEVICES`` takes them."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [name for name in os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',') if name]
    return named[:count] or [str(index) for index in range(count)]
