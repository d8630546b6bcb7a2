"""A worker's part in measuring throughput: train beside others, all at the same time, and count."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..records.run_folder import ERROR, write_json

__all__ = ['MEASURED', 'STAGE', 'MeasureHook']

#: What the entry ``study.stage`` of a config says to a worker.
STAGE = 'throughput'
MEASURED = 'throughput.json'
READY = 'ready'
WARM_UP = 5
LEAST_ITERATIONS = 3


class MeasureHook(Hook):
    """Count the iterations of a while in which all runs of a measurement train.

    After its warm-up a run waits for the others, and having counted it goes on until all have, so
    that each is measured under the load of all.

    Args:
        folder (Path): The run's folder, beside those of the others.
        runs (int): How many there are.
        seconds (float): How long to count.
        patience (float): Seconds to wait for the others before giving up.
    """

    priority = 'LOWEST'

    def __init__(self, folder: Path, runs: int, seconds: float, patience: float = 900.0) -> None:
        self.folder = folder
        self.runs = runs
        self.seconds = seconds
        self.patience = patience
        self.done = 0
        self.start: float | None = None

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        self.done += 1
        if self.start is None:
            if self.done == WARM_UP:
                (self.folder / READY).touch()
                self.wait_for_others()
                self.done, self.start = 0, time.perf_counter()
            return
        passed = time.perf_counter() - self.start
        measured = self.folder / MEASURED
        if passed >= self.seconds and self.done >= LEAST_ITERATIONS and not measured.exists():
            content = {
                'step_seconds': passed / self.done,
                'images_per_second': runner.train_dataloader.batch_size * self.done / passed,
                **memory(),
            }
            write_json(measured, content)
        if self.count(MEASURED) + self.count(ERROR) >= self.runs:
            runner.train_loop.stop_training = True

    def count(self, name: str) -> int:
        """Runs that have left a file."""
        return sum(1 for _ in self.folder.parent.glob(f'*/{name}'))

    def wait_for_others(self) -> None:
        """Wait until all runs are warm.

        Raises:
            RuntimeError: One of them failed, or does not come.
        """
        end = time.monotonic() + self.patience
        while self.count(READY) < self.runs:
            if self.count(ERROR) or time.monotonic() > end:
                raise RuntimeError('another run of the measurement failed')
            time.sleep(0.01)


def memory() -> dict[str, int]:
    """Memory that is taken and what there is: of the GPU by all, or of the machine by this one."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return {'memory': total - free, 'memory_total': total}
    if sys.platform == 'win32':  # where Python has no word for it
        return {'memory': 0}
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {'memory': peak if sys.platform == 'darwin' else 1024 * peak}
