"""Workers as processes of this machine, spread over its GPUs or, without any, its cores."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from ..mps import multi_process_service
from ..progress import PARENT
from ..share import CORES, share_of_cores
from .base import Executor, Job, worker_command

__all__ = ['LocalExecutor']

TERM_SECONDS = 10


class LocalJob(Job):
    """A process in a slot."""

    def __init__(self, process: subprocess.Popen, slot: int) -> None:
        self.process = process
        self.slot = slot

    def poll(self) -> str | None:
        code = self.process.poll()
        if code is None or code >= 0:
            return None if code is None else ''
        name = signal.Signals(-code).name
        memory = '; the machine may have run out of memory' if name == 'SIGKILL' else ''
        return f'the worker was ended by {name}{memory}'

    def cancel(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(TERM_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class LocalExecutor(Executor):
    """Processes of this machine.

    Small models leave most of a GPU idle, so several runs on one are faster together than one after
    the other, where CUDA's Multi-Process Service lets them compute at the same time: with more than
    one slot a GPU the executor sees to that, see :func:`multi_process_service`.

    Args:
        slots (int): Processes at the same time: for each GPU, or in all without one.
        gpus (list[str]): GPUs as ``CUDA_VISIBLE_DEVICES`` names them; empty for the CPU.
    """

    def __init__(self, slots: int = 1, gpus: list[str] | None = None) -> None:
        self.gpus = visible_gpus() if gpus is None else gpus
        self.slots = slots * max(len(self.gpus), 1)
        self.free = list(range(self.slots))
        self.jobs: list[LocalJob] = []
        self.held = contextlib.ExitStack()
        self.service = self.held.enter_context(multi_process_service(self.gpus, slots))
        self.notes = (self.service.note,) if self.service.note else ()

    def close(self) -> None:
        for job in self.jobs:  # which a daemon that ends would take down
            job.cancel()
        self.held.close()

    def submit(self, folder: Path) -> LocalJob:
        for job in [job for job in self.jobs if job.process.poll() is not None]:
            self.jobs.remove(job)
            self.free.append(job.slot)
        slot = min(self.free)
        self.free.remove(slot)
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
        job = LocalJob(process, slot)
        self.jobs.append(job)
        return job

    def environment(self, slot: int) -> dict[str, str]:
        """Environment of the worker in a slot: its GPU, and its share of the cores."""
        cores = str(share_of_cores(self.slots))
        index = slot % max(len(self.gpus), 1)
        gpu = self.gpus[index] if self.gpus else ''
        if self.service.numbered and gpu.isdigit():
            gpu = str(index)
        return {
            'OMP_NUM_THREADS': cores,
            CORES: cores,
            **os.environ,
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
