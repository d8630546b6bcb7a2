"""A run's share of this machine's cores, where several run at the same time.

It changes no number: processes that load images for validation and test draw nothing at random.
Those of the training do, each from a generator of its own, so their number is part of a run's
config, and is left as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from mmengine.config import Config

from ..cores import usable_cores

__all__ = ['CORES', 'bound_loaders', 'crowded', 'share_of_cores']

#: Environment variable of a worker with its cores.
CORES = 'MKBACKBONES_STUDY_CORES'
#: Processes for each core from which on a machine is called crowded.
CROWDED = 2


def share_of_cores(runs: int) -> int:
    """Cores for each of ``runs`` runs, at least one."""
    return max(usable_cores() // runs, 1)


def bound_loaders(cfg: Config) -> None:
    """Let validation and test load images in no more processes than the run has cores."""
    cores = int(os.environ.get(CORES, 0))
    for split in ('val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if cores and loader and loader.get('num_workers', 0) > cores:
            loader.num_workers = cores


def crowded(configs: Iterable[Config], runs: int) -> str:
    """What there is to say of runs whose loaders outnumber the cores; empty where they do not."""
    loaders = max((cfg.train_dataloader.get('num_workers', 0) for cfg in configs), default=0)
    cores = usable_cores()
    if runs < 2 or runs * (1 + loaders) <= CROWDED * cores:
        return ''
    return (
        f'{runs} runs with {loaders} loader processes each share {cores} cores; '
        'train_dataloader.num_workers is left as the configs say, since it decides on the draws of '
        f'the augmentation, so set it in options: {max(cores // runs - 1, 0)} would fit'
    )
