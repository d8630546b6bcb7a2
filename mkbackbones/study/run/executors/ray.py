"""Workers as tasks of a Ray cluster whose machines share the study's folder."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from .base import Executor, Job
from .cluster_job import ClusterJob

__all__ = ['RayExecutor']


CONNECT_SECONDS = 5
HEALTH_SECONDS = 12


def run_worker(folder: str) -> int:
    """What a task does; Ray has set ``CUDA_VISIBLE_DEVICES``."""
    return ClusterJob()(folder)


def check_answers(address: str) -> None:
    """Raise ConnectionError unless a cluster answers: Ray itself would wait for minutes.

    Args:
        address (str): ``HOST:PORT`` or ``ray://HOST:PORT``; ``'auto'`` and ``'local'`` are Ray's.
    """
    client = address.startswith('ray://')
    host, colon, port = address.removeprefix('ray://').rpartition(':')
    if not colon or not port.isdigit():
        if address in ('auto', 'local'):
            return
        raise ConnectionError(f'{address!r} is no address; give HOST:PORT or ray://HOST:PORT')
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f'nothing answers at {address} ({error})') from error
    if client:
        return
    question = [sys.executable, '-m', 'ray.scripts.scripts', 'health-check', '--address', address]
    try:
        healthy = not subprocess.run(
            question, capture_output=True, timeout=HEALTH_SECONDS
        ).returncode
    except subprocess.TimeoutExpired:
        healthy = False
    if not healthy:
        raise ConnectionError(f'what answers at {address} is no Ray cluster')


class RayJob(Job):
    """A task of Ray."""

    def __init__(self, reference: Any) -> None:
        self.reference = reference

    def poll(self) -> str | None:
        import ray

        done, _ = ray.wait([self.reference], timeout=0)
        if not done:
            return None
        try:
            code = ray.get(self.reference)
        except ray.exceptions.RayError as error:
            return f'Ray lost the worker: {str(error).strip().splitlines()[0]}'
        return '' if code >= 0 else f'the worker was ended by signal {-code}'

    def cancel(self) -> None:
        import ray

        ray.cancel(self.reference, force=True)


class RayExecutor(Executor):
    """Tasks of Ray.

    Args:
        address (str | None): Address of a cluster; None starts Ray on this machine.
        slots (int): Tasks for each GPU, or, without GPUs, in all.

    Raises:
        ConnectionError: No cluster answers at the address.
    """

    def __init__(self, address: str | None = None, slots: int = 1) -> None:
        import ray

        if not ray.is_initialized():
            if address is not None:
                check_answers(address)
            ray.init(address=address, include_dashboard=False, log_to_driver=False)
        resources = ray.cluster_resources()
        gpus, cpus = int(resources.get('GPU', 0)), max(int(resources.get('CPU', 1)), 1)
        self.slots = slots * max(gpus, 1)
        self.gpus = gpus
        share = dict(num_gpus=1 / slots) if gpus else dict(num_cpus=max(cpus // slots, 1))
        # Ray limits each task to one thread unless told otherwise.
        threads = str(max(cpus // self.slots, 1))
        self.remote = ray.remote(max_retries=0, **share)(run_worker).options(
            runtime_env={'env_vars': {'OMP_NUM_THREADS': threads}}
        )

    def submit(self, folder: Path, gpus: int = 1) -> RayJob:
        remote = self.remote.options(num_gpus=gpus) if self.gpus and gpus > 1 else self.remote
        return RayJob(remote.remote(str(folder.resolve())))

    def close(self) -> None:
        import ray

        ray.shutdown()
