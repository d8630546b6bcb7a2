"""Where runs are executed: on this machine, by Slurm, or on a Ray cluster."""

from .base import Executor, Job
from .local import LocalExecutor
from .ray import RayExecutor
from .slurm import SlurmExecutor

__all__ = ['Executor', 'Job', 'LocalExecutor', 'RayExecutor', 'SlurmExecutor']
