"""One run in several processes, each on a GPU of its own (or, without any, on the CPU).

The total batch size of the config is kept and dealt out, so learning rates and schedules stay as
they are, and each iteration sees the images that it would see in one process.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.config import Config
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..records.progress import PARENT

if TYPE_CHECKING:
    from torch import nn

__all__ = ['MeanLossHook', 'join_group', 'launch', 'leave_group', 'rank', 'share_batch', 'unwrap']

#: Seconds for the others to end by themselves when one process has ended.
GRACE_SECONDS = 20


def rank() -> int | None:
    """Number of this process in a run of several; None in a run of one, and in what starts them."""
    return int(os.environ['RANK']) if 'RANK' in os.environ else None


def launch(folder: Path, count: int) -> int:
    """Start the processes of a run, and end all when one has failed.

    Args:
        folder (Path): The run's folder.
        count (int): How many.

    Returns:
        int: Exit code of the first process, or of one that failed before it.
    """
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    shared = {
        'MASTER_ADDR': '127.0.0.1',
        'MASTER_PORT': str(port),
        'WORLD_SIZE': str(count),
        PARENT: str(os.getpid()),
    }
    command = [sys.executable, '-m', 'mkbackbones.study.worker', str(folder)]
    processes = [
        subprocess.Popen(
            command, env={**os.environ, **shared, 'RANK': str(number), 'LOCAL_RANK': str(number)}
        )
        for number in range(count)
    ]

    def stop(*unused: object) -> None:
        for process in processes:
            process.kill()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    try:
        while True:
            codes = [process.poll() for process in processes]
            failed = [code for code in codes if code]
            if codes[0] is not None or failed:
                return codes[0] if codes[0] is not None else failed[0]
            time.sleep(0.05)
    finally:
        end(processes)


def end(processes: list[subprocess.Popen]) -> None:
    """Wait for processes a while, then end them."""
    limit = time.monotonic() + GRACE_SECONDS
    if any(process.poll() for process in processes):  # one failed: the others wait for it in vain
        limit = time.monotonic()
    for process in processes:
        try:
            process.wait(max(limit - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def share_batch(cfg: Config, count: int) -> None:
    """Let each of ``count`` processes train on its share of the config's batch.

    Raises:
        ValueError: It cannot be dealt out evenly.
    """
    total = cfg.train_dataloader.batch_size
    if total % count:
        near = max(total // count, 1) * count
        raise ValueError(
            f'a batch of {total} cannot be dealt out to {count} processes evenly; set '
            f'train_dataloader.batch_size={near} in options, or another number of gpus'
        )
    cfg.train_dataloader.batch_size = total // count


def join_group(cfg: Config) -> None:
    """Meet the other processes of a run, and let mmengine know."""
    import torch

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
    torch.distributed.init_process_group('nccl' if cuda else 'gloo')
    cfg.launcher = 'pytorch'
    # A backbone has norms of levels that no head reads; without this DDP waits for their gradients.
    cfg.setdefault('find_unused_parameters', True)
    if not cuda:  # mmengine would name a GPU
        wrapper = cfg.get('model_wrapper_cfg') or dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.find_unused_parameters,
        )
        cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)


def leave_group() -> None:
    """Go on alone: what comes after the training is done by the first process."""
    import torch

    torch.distributed.destroy_process_group()


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside a wrapper for distributed training."""
    return getattr(model, 'module', model)


class MeanLossHook(Hook):
    """Let the loss of an iteration be that of its whole batch, in every process."""

    priority = 'VERY_HIGH'

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        import torch

        outputs = {} if outputs is None else outputs
        loss = outputs['loss'].detach().clone()
        torch.distributed.all_reduce(loss)
        outputs['loss'] = loss / get_dist_info()[1]
