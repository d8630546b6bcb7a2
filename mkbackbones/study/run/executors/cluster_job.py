"""What a job of a cluster does: run the worker of a folder, and end it with the job."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from .base import ENDING, send, worker_command

__all__ = ['ClusterJob']

END_SECONDS = 15
POLL_SECONDS = 0.1


class ClusterJob:
    """Callable that runs a worker and returns its exit code.

    When the queue takes the job off its node (a time limit, a job that goes before), submitit calls
    :meth:`checkpoint` and queues the job again; the run goes on from its last checkpoint.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None

    def __call__(self, folder: str) -> int:
        with open(Path(folder) / 'console.log', 'ab') as log:
            self.process = subprocess.Popen(
                worker_command(Path(folder)), stdout=log, stderr=log, start_new_session=True
            )
            # Not wait(): checkpoint() comes as a signal in the middle of it, and would wait for it.
            while self.process.poll() is None:
                time.sleep(POLL_SECONDS)
            return self.process.returncode

    def checkpoint(self, folder: str) -> Any:
        """End the worker, which would else be in the way of the next one; return what to queue."""
        import submitit

        if self.process is not None and not self.has_ended():
            for name in ENDING:
                send(self.process, name)
                end = time.monotonic() + END_SECONDS
                while not self.has_ended() and time.monotonic() < end:
                    time.sleep(POLL_SECONDS)
        return submitit.helpers.DelayedSubmission(ClusterJob(), folder)

    def has_ended(self) -> bool:
        """Whether the worker has ended; its exit code is left to whoever waits for it."""
        if self.process is None:
            return True
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self.process.pid, look) is not None
        except ChildProcessError:
            return True
