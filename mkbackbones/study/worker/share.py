"""A run's share of this machine's cores, where several run at the same time.

It changes no number: random numbers are drawn by seed and count
(:class:`~mkbackbones.engine.exact_resume.ExactResumeHook`), whichever process loads an image.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from mmengine.config import Config

from ...cores import usable_cores

__all__ = ['CORES', 'bound_loaders', 'share_of_cores']

#: Environment variable of a worker with its cores.
CORES = 'MKBACKBONES_STUDY_CORES'


def share_of_cores(runs: int) -> int:
    """Cores for each of ``runs`` runs, at least one."""
    return max(usable_cores() // runs, 1)


def bound_loaders(cfg: Config) -> None:
    """Let a run load images in no more processes than it has cores.

    A loader whose transforms keep earlier pictures stays as it is: which ones they keep depends on
    the number of processes.
    """
    cores = int(os.environ.get(CORES, 0))
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if not (cores and loader and loader.get('num_workers', 0) > cores):
            continue
        if not any(name.split('.')[-1].startswith('Cached') for name in types_in(loader)):
            loader.num_workers = cores


def types_in(content: object) -> Iterator[str]:
    """Every ``type`` in a config."""
    if isinstance(content, dict):
        if 'type' in content:
            yield str(content['type'])
        content = list(content.values())
    if isinstance(content, list | tuple):
        for entry in content:
            yield from types_in(entry)
