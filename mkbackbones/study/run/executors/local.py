"""Workers as processes of this machine, spread over its GPUs or, without any, its cores."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ...records.progress import PARENT
from ...worker.share import CORES, share_of_cores
from .base import ENDING, Executor, Job, send, worker_command
from .mps import multi_process_service
from .warm import WarmStart

__all__ = ['LocalExecutor']

TERM_SECONDS = 10


class LocalJob(Job):
    """A process in a slot, or, with several GPUs, in a slot of each.

    Args:
        slots (list[int]): The slots.
    """

    def __init__(self, slots: list[int]) -> None:
        self.slots = slots

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
        for name in ENDING:
            if self.code() is None:
                self.signal(name)
            end = time.monotonic() + TERM_SECONDS
            while self.code() is None and time.monotonic() < end:
                time.sleep(0.02)


class ColdJob(LocalJob):
    """A process of its own from the start."""

    def __init__(self, slots: list[int], process: subprocess.Popen) -> None:
        super().__init__(slots)
        self.process = process

    def code(self) -> int | None:
        return self.process.poll()

    def signal(self, name: int) -> None:
        send(self.process, name)  # with the processes of its data loaders


class WarmJob(LocalJob):
    """A process forked from one that has imported the libraries."""

    def __init__(self, slots: list[int], start: WarmStart, number: int) -> None:
        super().__init__(slots)
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
        if warm and sys.platform == 'linux' and hasattr(os, 'fork'):  # first, as it takes a while
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

    def why_never(self, gpus: int) -> str:
        if gpus <= max(len(self.gpus), 1) or not self.gpus:  # the CPU takes any number
            return ''
        return f'it asks for {gpus} GPUs, and here are {len(self.gpus)}'

    def has_room(self, gpus: int) -> bool:
        return len(self.free_slots(gpus)) == (gpus if self.gpus else 1)

    def free_slots(self, gpus: int) -> list[int]:
        """Free slots, each of another GPU, at most ``gpus``; on the CPU one is enough."""
        for job in [job for job in self.jobs if job.code() is not None]:
            self.jobs.remove(job)
            self.free += job.slots
        found: dict[int, int] = {}
        for slot in sorted(self.free):
            found.setdefault(slot % max(len(self.gpus), 1), slot)
        # The emptiest GPUs first: their lowest slots are free.
        return sorted(found.values())[:gpus]

    def submit(self, folder: Path, gpus: int = 1) -> LocalJob:
        slots = self.free_slots(gpus)
        for slot in slots:
            self.free.remove(slot)
        job = self.start_warm(folder, slots) or self.start_cold(folder, slots)
        self.jobs.append(job)
        return job

    def start_warm(self, folder: Path, slots: list[int]) -> LocalJob | None:
        """Fork a worker; None where that cannot be done."""
        if self.warm is None:
            return None
        number = self.warm.start(folder.resolve(), self.environment(*slots))
        return None if number is None else WarmJob(slots, self.warm, number)

    def start_cold(self, folder: Path, slots: list[int]) -> LocalJob:
        """Start a worker from nothing."""
        with open(folder / 'console.log', 'ab') as log:
            process = subprocess.Popen(
                worker_command(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(*slots),
                # Ctrl-C is for the study, which ends its workers: one that is still starting
                # would die of it with a traceback, as if it had failed.
                start_new_session=True,
            )
        return ColdJob(slots, process)

    def threads(self) -> dict[str, str]:
        """A worker's share of the cores, unless the user has set it."""
        cores = str(share_of_cores(self.slots))
        return {name: os.environ.get(name, cores) for name in ('OMP_NUM_THREADS', CORES)}

    def environment(self, *slots: int) -> dict[str, str]:
        """Environment of the worker in a slot: its GPU or GPUs, and its share of the cores."""
        indices = [slot % len(self.gpus) for slot in slots] if self.gpus else []
        names = [
            str(index) if self.service.numbered and self.gpus[index].isdigit() else self.gpus[index]
            for index in indices
        ]
        return {
            **os.environ,
            **self.threads(),
            **self.service.environment,
            'CUDA_VISIBLE_DEVICES': ','.join(names),
            PARENT: str(os.getpid()),
        }


def visible_gpus() -> list[str]:
    """Names of the GPUs that CUDA may use, as ``CUDA_VISIBLE_DEVICES`` takes them."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [name for name in os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',') if name]
    return named[:count] or [str(index) for index in range(count)]
