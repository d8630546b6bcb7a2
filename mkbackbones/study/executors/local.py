"""Workers as processes of this machine, spread over its GPUs or, without any, its cores."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from ..progress import PARENT
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

    Small models keep the processor busier than a GPU, so several runs on one GPU can be faster
    together than one after the other.

    Args:
        slots (int): Processes at the same time: for each GPU, or in all without one.
        gpus (list[str]): GPUs as ``CUDA_VISIBLE_DEVICES`` names them; empty for the CPU.
    """

    def __init__(self, slots: int = 1, gpus: list[str] | None = None) -> None:
        self.gpus = visible_gpus() if gpus is None else gpus
        self.slots = slots * max(len(self.gpus), 1)
        self.free = list(range(self.slots))
        self.jobs: list[LocalJob] = []

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
        threads = max((os.cpu_count() or 1) // self.slots, 1)
        gpu = self.gpus[slot % len(self.gpus)] if self.gpus else ''
        return {
            'OMP_NUM_THREADS': str(threads),
            **os.environ,
            'CUDA_VISIBLE_DEVICES': gpu,
            PARENT: str(os.getpid()),
        }


def visible_gpus() -> list[str]:
    """Names of the GPUs that CUDA may use, as ``CUDA_VISIBLE_DEVICES`` takes them."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [name for name in os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',') if name]
    return named[:count] or [str(index) for index in range(count)]
