"""What a study asks of an executor."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path

__all__ = ['ENDING', 'Executor', 'Job', 'send', 'worker_command']

#: What asks a process to end, then what makes it; Windows has one that does both.
ENDING = tuple(getattr(signal, name) for name in ('SIGTERM', 'SIGKILL') if hasattr(signal, name))


def send(process: subprocess.Popen, name: int) -> None:
    """Send a signal to a process that leads a session, and to what it has started.

    On Windows it is ended, and what it has started ends by itself, or not.
    """
    if not hasattr(os, 'killpg'):
        process.terminate()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, name)


def worker_command(folder: Path) -> list[str]:
    """Command line of the worker of a run."""
    return [sys.executable, '-m', 'mkbackbones.study.worker', str(folder)]


class Job(ABC):
    """A worker that was started."""

    @abstractmethod
    def poll(self) -> str | None:
        """How it ended: ``''`` by itself, else why, in a few words; None while it runs."""

    @abstractmethod
    def cancel(self) -> None:
        """End it; its run goes on from its last checkpoint another time."""


class Executor(ABC):
    """Starts workers.

    Attributes:
        slots (int): Workers that may run, or wait in a queue, at the same time.
        notes (tuple[str, ...]): What the user should know.
    """

    slots: int
    notes: tuple[str, ...] = ()

    @abstractmethod
    def submit(self, folder: Path, gpus: int = 1) -> Job:
        """Start the worker of the run in a folder.

        Args:
            folder (Path): The folder.
            gpus (int): GPUs of the run.
        """

    def has_room(self, gpus: int) -> bool:
        """Whether a run with so many GPUs can start now, where there is a free slot."""
        return True

    def why_never(self, gpus: int) -> str:
        """Why a run with so many GPUs can never start here; empty where it can."""
        return ''

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of what the executor holds."""
