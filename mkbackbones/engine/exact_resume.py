"""Resumed training that computes what uninterrupted training computes, to the last digit."""

import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..registry import HOOKS

#: Entry of the checkpoint with the states of the random generators.
ENTRY = 'mkbackbones_random_states'


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Save the states of the random generators with each checkpoint and go on from them.

    ``custom_hooks=[dict(type='mkbackbones.ExactResumeHook')]``. mmengine saves weights, optimiser
    and schedules, but not the generators of Python, NumPy, torch and CUDA, which decide on drop
    path, sampled regions and augmentations.

    Guaranteed: 2k iterations, or k iterations, a stop and k more, give the same losses and weights
    bit by bit, where the machine computes deterministically (a CPU does; on a GPU set
    ``randomness=dict(seed=..., deterministic=True)``), in one process, with the same config, which
    has to name a seed, and for

    - ``IterBasedTrainLoop``, resumed from any iteration, with any number of workers. With workers
      the skipped batches are loaded again, so that the workers' generators get to where they were;
      without this hook newer mmengine skips them unseen, fast but with other augmentations;
    - ``EpochBasedTrainLoop``, resumed from the end of an epoch, without workers, or with workers
      that are not persistent.

    Validation leaves the generators of the training as they were. Not covered: several processes
    (the checkpoint holds the first one's states only; there the hook says so and does nothing),
    generators that a dataset or a transform owns, and ``fast_forward_on_resume``, which asks for
    other data. Where something stands in the way, a warning says what.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.seed: int | None = None
        self.loaded: dict | None = None
        self.pending: dict | None = None
        self.before_validation: dict | None = None

    def before_run(self, runner: Runner) -> None:
        self.seed = runner.seed  # what the samplers are built from, before a resume may replace it

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        # The best checkpoint is saved during validation, but training goes on from before it.
        checkpoint[ENTRY] = self.before_validation or random_states()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        meta = checkpoint.get('meta')  # which checkpoints of other libraries lack
        seed = meta.get('seed') if isinstance(meta, dict) else None
        self.loaded = {'states': checkpoint.get(ENTRY), 'seed': seed}

    def before_train(self, runner: Runner) -> None:
        loaded, self.loaded = self.loaded, None
        loop = runner.train_loop
        if loaded is None or loop.iter == 0:  # from scratch, or load_from
            return
        if reason := self.why_not(loaded):
            print_log(f'Resuming is not exact: {reason}', logger='current', level=logging.WARNING)
        if loaded['states'] is None or get_world_size() > 1:
            return
        if hasattr(loop, 'dataloader_iterator'):
            loop.dataloader_iterator = ResumedBatches(
                loop.dataloader_iterator,
                0 if getattr(loop, 'fast_forward_on_resume', False) else loop.iter,
                loop.dataloader.num_workers,
                lambda: restore_random_states(loaded['states']),
            )
        else:
            self.pending = loaded['states']

    def before_train_epoch(self, runner: Runner) -> None:
        if self.pending is not None:
            restore_random_states(self.pending)
            self.pending = None

    def before_val(self, runner: Runner) -> None:
        self.before_validation = random_states()

    def after_val(self, runner: Runner) -> None:
        if self.before_validation is not None:
            restore_random_states(self.before_validation)
            self.before_validation = None

    def why_not(self, loaded: dict) -> str | None:
        """Why the resumed training will differ, as far as the checkpoint shows."""
        if loaded['states'] is None:
            return 'the checkpoint was saved without ExactResumeHook'
        if get_world_size() > 1:
            return f'ExactResumeHook supports one process, and there are {get_world_size()}'
        if loaded['seed'] != self.seed:
            return (
                f'the data are shuffled with seed {self.seed}, in the checkpoint with '
                f'{loaded["seed"]}; set randomness=dict(seed={loaded["seed"]})'
            )
        return None


class ResumedBatches:
    """The batches of an ``IterBasedTrainLoop`` that skips what has been trained already.

    Args:
        batches (Iterator): The loop's own iterator.
        num_done (int): Batches that the loop will skip.
        num_workers (int): Workers of the data loader.
        restore (Callable): Called once, before the first batch that is trained.
    """

    def __init__(
        self, batches: Iterator, num_done: int, num_workers: int, restore: Callable[[], None]
    ) -> None:
        self.batches = batches
        self.num_left = num_done
        self.num_workers = num_workers
        self.restore: Callable[[], None] | None = restore

    def skip_iter(self, num_iters: int) -> None:
        """Newer mmengine: skip all at once."""
        if self.num_workers:
            print_log(
                f'ExactResumeHook: loading {num_iters} batches again for the random numbers of '
                f'{self.num_workers} workers',
                logger='current',
            )
            for _ in range(num_iters):
                next(self.batches)
        else:
            self.batches.skip_iter(num_iters)
        self.num_left = 0

    def __iter__(self) -> 'ResumedBatches':
        return self

    def __next__(self) -> Any:
        if self.num_left:  # older mmengine: skip one by one
            self.num_left -= 1
            return next(self.batches)
        if self.restore is not None:
            if hasattr(self.batches, '_ensure_iterator'):
                self.batches._ensure_iterator()  # draws a seed, which the first run did long ago
            self.restore()
            self.restore = None
        return next(self.batches)


def random_states() -> dict:
    """The states of all generators, in types that ``torch.load(weights_only=True)`` accepts."""
    _, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - what mm uses
    return {
        'python': random.getstate(),
        'numpy': (torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: dict) -> None:
    """Put all generators back to saved states."""
    version, internal, gauss = states['python']
    random.setstate((version, tuple(internal), gauss))
    keys, position, has_gauss, cached = states['numpy']
    keys = keys.cpu().numpy().astype(np.uint32)
    np.random.set_state(('MT19937', keys, position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(states['torch'].cpu())
    if states['cuda'] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([state.cpu() for state in states['cuda']])
