"""Workers as Slurm jobs, through submitit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .base import Executor, Job
from .cluster_job import ClusterJob

__all__ = ['SlurmExecutor']


#: How often a job may meet its time limit.
REQUEUES = 100


class SlurmJob(Job):
    """A job of submitit."""

    def __init__(self, job: Any) -> None:
        self.job = job

    def poll(self) -> str | None:
        if not self.job.done():
            return None
        error = self.job.exception()
        if error is None and self.job.result() >= 0:
            return ''
        if error is None:
            return f'the worker was ended by signal {-self.job.result()}'
        return f'the job ended as {self.job.state}: {str(error).strip().splitlines()[-1]}'

    def cancel(self) -> None:
        self.job.cancel()


class SlurmExecutor(Executor):
    """Jobs of Slurm, on one node each, with as many GPUs as the task of a run asks for.

    Args:
        folder (Path): For submitit's logs; on a file system that all nodes see.
        slots (int): Jobs in the queue at the same time.
        parameters (dict): Of ``submitit.AutoExecutor.update_parameters``, e.g.
            ``dict(slurm_partition='gpu', timeout_min=600)``.
        cluster (str): ``'slurm'``; ``'local'`` tries it out without Slurm.
    """

    def __init__(
        self, folder: Path, slots: int = 64, parameters: dict | None = None, cluster: str = 'slurm'
    ) -> None:
        import submitit

        self.slots = slots
        # A job that meets its time limit is queued again, and its run goes on.
        self.executor = submitit.AutoExecutor(
            folder=folder, cluster=cluster, slurm_max_num_timeout=REQUEUES
        )
        defaults = dict(name='mkbackbones', timeout_min=24 * 60, cpus_per_task=8)
        self.by_gpu = cluster == 'slurm' and not {'gpus_per_node', 'slurm_gpus_per_node'} & set(
            parameters or {}
        )
        self.executor.update_parameters(**defaults | (parameters or {}))

    def submit(self, folder: Path, gpus: int = 1) -> SlurmJob:
        if self.by_gpu:  # unless the user has said
            self.executor.update_parameters(gpus_per_node=gpus)
        return SlurmJob(self.executor.submit(ClusterJob(), str(folder.resolve())))
