"""What a running worker tells about itself: a small file beside its results."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

from ...files import locked, written_aside

__all__ = ['Heartbeat', 'Phase', 'Progress', 'is_alive', 'read_progress']

FILE = 'progress.json'
LOCK = 'worker.lock'
#: Of the first of several processes of a run.
FIRST_LOCK = 'process.lock'
#: Environment variable with the process that started a worker: while libraries were imported, it
#: may have ended already.
PARENT = 'MKBACKBONES_STUDY_PROCESS'
BEAT_SECONDS = 2.0
#: On another machine a worker whose file is older than this is taken for dead.
SILENCE_SECONDS = 180.0


Phase = Literal['starting', 'training', 'validating', 'testing']


@dataclass
class Progress:
    """State of a worker.

    Args:
        phase (Phase): What it is doing.
        iter (int): Iterations done.
        max_iters (int): Iterations to do.
        loss (float | None): Last training loss.
        step_seconds (float | None): Recent time of an iteration, data loading included.
        score (float | None): Best primary metric on validation so far.
        memory (int | None): Peak of the device's memory in bytes.
        host (str): Machine.
        pid (int): Process.
    """

    phase: Phase = 'starting'
    iter: int = 0
    max_iters: int = 0
    loss: float | None = None
    step_seconds: float | None = None
    score: float | None = None
    memory: int | None = None
    host: str = ''
    pid: int = 0


class Heartbeat:
    """Hold the lock of a run's folder and keep its progress file fresh.

    Args:
        folder (Path): The run's folder.
        end_with_parent (bool): End this process when the one that started it has ended: nobody
            waits for the result then, and the run goes on from its checkpoint another time.

        rank (int | None): Number of this process in a run of several, whose starter holds the
            lock. The first one keeps the file, the others tell nothing.

    Raises:
        BlockingIOError: Another worker is at work in this folder.
    """

    def __init__(
        self, folder: Path, end_with_parent: bool = False, rank: int | None = None
    ) -> None:
        self.folder = folder
        self.silent = bool(rank)
        self.parent = int(os.environ.get(PARENT, os.getppid())) if end_with_parent else None
        self.progress = Progress(host=socket.gethostname(), pid=os.getpid())
        self.lock = None
        if rank is None:
            self.lock = take_lock(folder / LOCK)
        elif rank == 0:  # those of a starter that was killed may need a moment to notice
            self.lock = take_lock(folder / FIRST_LOCK, 10 * BEAT_SECONDS)
        self.written = 0.0
        self.write()
        threading.Thread(target=self.beat, daemon=True).start()

    def update(self, **changes: object) -> None:
        """Change the progress; the file follows at most once a second."""
        for key, value in changes.items():
            setattr(self.progress, key, value)
        if 'phase' in changes or time.monotonic() - self.written > 1:
            self.write()

    def write(self) -> None:
        """Write the progress file; a full disk must not end a training."""
        self.written = time.monotonic()
        if self.silent:
            return
        try:
            with written_aside(self.folder / FILE, durable=False) as work:
                work.write_text(json.dumps(asdict(self.progress)), encoding='utf-8')
        except OSError:
            pass

    def beat(self) -> None:
        """Keep the file young while the main thread is busy."""
        while True:
            time.sleep(BEAT_SECONDS)
            if self.parent not in (None, os.getppid()):
                # Processes of data loaders would stay for ever.
                if hasattr(os, 'killpg') and os.getpgrp() == os.getpid():
                    os.killpg(os.getpid(), signal.SIGKILL)
                os._exit(1)
            try:
                os.utime(self.folder / FILE)
            except OSError:
                continue


def take_lock(path: Path, patience: float = 2.0) -> IO[str]:
    """Lock a file for this process, until it ends however it ends.

    Children of a fork (workers of a data loader) do not inherit it. On a file system without locks
    nothing is locked, and the age of the progress file tells whether a worker lives.

    Args:
        path (Path): File to lock.
        patience (float): Seconds to wait for a holder that merely looks.

    Raises:
        BlockingIOError: Another process holds it.
    """
    file = path.open('a', encoding='utf-8')
    try:
        mine = locked(file.fileno(), by_process=True, patience=patience)
    except OSError:  # no locks here
        return file
    if not mine:
        file.close()
        raise BlockingIOError(f'{path} is held by another process')
    return file


def read_progress(folder: Path) -> Progress | None:
    """Progress of a run; None where there is none."""
    try:
        return Progress(**json.loads((folder / FILE).read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError):
        return None


def is_alive(folder: Path) -> bool:
    """Whether a worker is at work in a run's folder.

    On this machine its lock tells; elsewhere, where locks may not reach, and where there are none,
    the age of its file.
    """
    progress = read_progress(folder)
    if progress is None:
        return False
    if progress.host == socket.gethostname():
        with (folder / LOCK).open('ab') as file, contextlib.suppress(OSError):
            return not locked(file.fileno(), by_process=True)
    try:
        age = time.time() - (folder / FILE).stat().st_mtime
    except OSError:
        return False
    # Clocks differ by seconds; what comes from the future by more is no sign of life.
    return abs(age) < SILENCE_SECONDS
