"""Resumed training that computes what uninterrupted training computes, to the last digit."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader, IterableDataset

from ..registry import HOOKS
from .counted import BATCH, MODEL, VALIDATION, CountedBatches, SeededSamples, seed_generators

#: Entry of a checkpoint that says with which seed its training drew.
ENTRY = 'mkbackbones_random_states'


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Draw random numbers by seed and iteration, so that a resumed training draws the same.

    ``custom_hooks=[dict(type='mkbackbones.ExactResumeHook')]``. mmengine saves weights, optimiser
    and schedules, but not where the generators of Python, NumPy, torch and CUDA are, which decide
    on drop path, sampled regions and augmentations. With this hook they are seeded anew, from the
    seed, the rank and a count: before each iteration for the model, before each sample for the
    data. Nothing has to be saved, and nothing that was trained is loaded again.

    Guaranteed: 2k iterations, or k iterations, a stop and k more, give the same losses and weights
    bit by bit, where the machine computes deterministically (a CPU does; on a GPU set
    ``randomness=dict(seed=..., deterministic=True)``), with the same config, which has to name a
    seed, with as many processes as before and any number of data loader workers, for
    ``IterBasedTrainLoop`` resumed from any iteration and ``EpochBasedTrainLoop`` resumed from the
    end of an epoch. Resuming takes the same time from any iteration; indices of what was trained
    are drawn, samples are not loaded.

    Two kinds of loaders are gone through from the start: those with transforms that keep pictures
    of earlier samples (mmdet's cached mosaic), which takes as many workers as before, and those
    that are no map-style ``DataLoader`` with batches. Not covered: generators that a data set or a
    transform owns, and ``fast_forward_on_resume``, which asks for other data. Where something
    stands in the way, a warning says what.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.seed: int = 0
        self.loaded: dict | None = None
        self.counted: CountedBatches | None = None

    @property
    def words(self) -> tuple[int, int]:
        """Seed and rank."""
        return self.seed, get_rank()

    def before_run(self, runner: Runner) -> None:
        self.seed = runner.seed  # what the samplers are built from, before a resume may replace it

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint[ENTRY] = {'seed': self.seed}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.loaded = {'entry': checkpoint.get(ENTRY)}

    def before_train(self, runner: Runner) -> None:
        loaded, self.loaded = self.loaded, None
        loop = runner.train_loop
        resumed = loaded is not None and loop.iter > 0  # neither from scratch nor load_from
        if loaded is not None and resumed and (reason := self.why_not(loaded['entry'])):
            print_log(f'Resuming is not exact: {reason}', logger='current', level=logging.WARNING)
        loader = loop.dataloader
        by_iteration = hasattr(loop, 'dataloader_iterator')
        done = loop.iter if by_iteration and resumed else 0
        if getattr(loop, 'fast_forward_on_resume', False):
            done = 0
        replay = has_memory(loader)
        if by_iteration and has_begun(loader, loop.dataloader_iterator):
            begin_anew(runner, loader, self.seed)
        if can_count(loader):
            self.counted = CountedBatches(
                loader.batch_sampler, self.words, by_iteration, 0 if replay else done
            )
            put_inside(loader, self.counted, SeededSamples(loader.dataset, self.words))
        else:
            replay = True
        if by_iteration:
            loop.dataloader_iterator = Batches(loader, self.words, done, replay)

    def before_train_epoch(self, runner: Runner) -> None:
        if self.counted is not None:
            self.counted.epoch = runner.epoch

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        seed_generators(MODEL, *self.words, runner.iter)

    def before_val(self, runner: Runner) -> None:
        seed_generators(VALIDATION, *self.words, runner.iter)

    def why_not(self, entry: Any) -> str | None:
        """Why the resumed training will differ, as far as the checkpoint shows."""
        if not isinstance(entry, dict) or 'seed' not in entry:
            return 'the checkpoint was saved without this ExactResumeHook'
        if entry['seed'] != self.seed:
            return (
                f'random numbers are drawn with seed {self.seed}, in the checkpoint with '
                f'{entry["seed"]}; set randomness=dict(seed={entry["seed"]})'
            )
        return None


def can_count(loader: Any) -> bool:
    """Whether a loader takes lists of indices from a batch sampler."""
    return (
        isinstance(loader, DataLoader)
        and not isinstance(loader.dataset, IterableDataset)
        and loader.batch_sampler is not None
    )


def has_memory(loader: Any) -> bool:
    """Whether a transform keeps earlier samples, as mmdet's cached mosaic does."""
    datasets = [getattr(loader, 'dataset', None)]
    while datasets:
        dataset = datasets.pop()
        pipeline = getattr(dataset, 'pipeline', None)
        transforms = pipeline if isinstance(pipeline, list) else getattr(pipeline, 'transforms', [])
        if any(hasattr(transform, 'results_cache') for transform in transforms):
            return True
        inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
        datasets += [one for one in inner if one is not None]
    return False


def has_begun(loader: Any, iterator: Any) -> bool:
    """Whether workers have been sent indices: mmengine 0.10.7 does so as it builds the loop."""
    began = getattr(iterator, '_iterator', None) is not None
    return began and can_count(loader) and loader.num_workers > 0


class Kept:
    """A data set in a config that mmengine copies: the copy is the data set itself."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __deepcopy__(self, memo: dict) -> Any:
        return self.dataset


def begin_anew(runner: Runner, loader: DataLoader, seed: int) -> None:
    """Give a loader that has begun samplers that have not.

    mmengine's infinite sampler goes on where it was, whoever asks; and it ends for all when the
    iterator goes away that has drawn from it. Batch samplers may keep indices for later.
    """
    config = runner._train_dataloader  # as it was given; the property is what was built of it
    if not isinstance(config, dict):
        raise ValueError(
            f'ExactResumeHook with num_workers={loader.num_workers} needs train_dataloader as a '
            'config, not as a DataLoader, with this mmengine, which begins to load before hooks '
            'run; give the config, or num_workers=0'
        )
    built = runner.build_dataloader(
        {**config, 'dataset': Kept(loader.dataset)},
        seed=seed,
        diff_rank_seed=runner._randomness_cfg.get('diff_rank_seed', False),
    )
    for name in ('sampler', 'batch_sampler'):
        object.__setattr__(loader, name, getattr(built, name))


def put_inside(loader: DataLoader, batches: CountedBatches, dataset: SeededSamples) -> None:
    """Change what a loader reads, for all iterators that are made from now on.

    A new loader would do, but for those who ask this one for its sampler or its batch size.
    """
    loader._iterator = None  # of persistent workers, with what it read before
    object.__setattr__(loader, 'batch_sampler', batches)
    object.__setattr__(loader, 'dataset', dataset)


class Batches:
    """The batches of an ``IterBasedTrainLoop``.

    Args:
        loader (DataLoader): The loader.
        words (tuple[int, ...]): Seed and rank.
        done (int): Batches that have been trained, which the loop skips.
        replay (bool): Whether the loader starts from the first batch all the same.
    """

    def __init__(self, loader: DataLoader, words: tuple[int, ...], done: int, replay: bool) -> None:
        self.loader = loader
        self.words = words
        self.to_skip = done
        self.replay = replay
        self.number = 0
        self.iterator: Iterator | None = None

    def skip_iter(self, num_iters: int) -> None:
        """Newer mmengine: skip all at once; older takes them one by one."""
        if self.replay:
            print_log(
                f'ExactResumeHook: loading {num_iters} batches again, which this loader needs to '
                'get to where it was',
                logger='current',
            )
        while self.to_skip:
            next(self)

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Any:
        if self.to_skip:
            self.to_skip -= 1
            if not self.replay:
                return None
        try:
            return self.load()
        except StopIteration:  # a loader that is not counted ends with its data
            self.iterator = None
            return self.load()

    def load(self) -> Any:
        """The next batch."""
        if self.replay:  # else each sample has its seed
            seed_generators(BATCH, *self.words, self.number)
        if self.iterator is None:
            self.iterator = iter(self.loader)
        batch = next(self.iterator)
        self.number += 1
        return batch
