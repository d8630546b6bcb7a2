"""Random numbers that depend on a seed and a count, not on what was drawn before.

A training that draws so can go on from any iteration without going through the ones before it, and
draws the same with any number of data loader workers.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

__all__ = ['CountedBatches', 'Numbered', 'SeededSamples', 'seed_generators']

#: First word of a seed: what is drawn with it.
MODEL, SAMPLE, ORDER, VALIDATION, BATCH = range(5)


def seed_generators(*words: int) -> None:
    """Seed the generators of Python, NumPy and torch, CUDA's included.

    Args:
        *words (int): Whole numbers from 0; other words give streams that do not depend on these.
    """
    state = np.random.SeedSequence(words).generate_state(4)
    low, high, third, fourth = (int(word) for word in state)
    random.seed(low << 32 | high)
    np.random.seed(third)  # noqa: NPY002 - what mm uses
    torch.manual_seed(high << 32 | fourth)


class Numbered(NamedTuple):
    """An index into a data set, and the sample's place in the training.

    Args:
        index (Any): What the sampler gave.
        epoch (int): Epoch of an epoch-based training, else 0.
        batch (int): Number of the batch in it.
        place (int): Place in the batch.
    """

    index: Any
    epoch: int
    batch: int
    place: int


class CountedBatches:
    """A batch sampler that numbers its samples and can start anywhere.

    Args:
        batches (Iterable[list]): The batch sampler.
        words (tuple[int, ...]): Seed and rank.
        endless (bool): Whether to go on with the next epoch at the end of one.
        start (int): Batches to leave out; their indices are drawn, their samples are not loaded.
    """

    def __init__(
        self, batches: Collection[list], words: tuple[int, ...], endless: bool, start: int = 0
    ) -> None:
        self.batches = batches
        self.words = words
        self.endless = endless
        self.start = start
        self.epoch = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or name == 'batches':
            raise AttributeError(name)
        return getattr(self.batches, name)  # batch_size, sampler, drop_last

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Numbered]]:
        if not self.endless:
            yield from self.number(self.one_epoch(self.epoch), self.epoch, 0)
            return
        done = 0
        for epoch in count():
            before = done
            for indices in self.one_epoch(epoch):
                if done >= self.start:
                    yield from self.number([indices], 0, done)
                done += 1
            if done == before:  # an empty sampler
                return
            sampler: Any = getattr(self.batches, 'sampler', None)
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch + 1)

    def one_epoch(self, epoch: int) -> Iterator[list]:
        """Indices of an epoch; a sampler that shuffles with torch's generator draws a seed here."""
        seed_generators(ORDER, *self.words, epoch)
        return iter(self.batches)

    @staticmethod
    def number(batches: Iterable[list], epoch: int, first: int) -> Iterator[list[Numbered]]:
        for batch, indices in enumerate(batches, start=first):
            yield [Numbered(index, epoch, batch, place) for place, index in enumerate(indices)]


class SeededSamples(Dataset):
    """A data set whose augmentations draw from generators that are seeded for each sample.

    Everything else is the data set's: what is read from this one, or set on it, is read from or set
    on the one inside.

    Args:
        dataset (Dataset): The data set; its indices arrive as :class:`Numbered`.
        words (tuple[int, ...]): Seed and rank.
    """

    def __init__(self, dataset: Dataset, words: tuple[int, ...]) -> None:
        self.__dict__.update(dataset=dataset, words=words)

    def __getattr__(self, name: str) -> Any:
        if name in ('dataset', 'words') or (name.startswith('__') and name.endswith('__')):
            raise AttributeError(name)  # not there yet while it is unpickled
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.dataset, name, value)

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, Numbered):  # looked at, not trained with
            return self.dataset[index]
        seed_generators(SAMPLE, *self.words, *index[1:])
        return self.dataset[index.index]

    def __getitems__(self, indices: list) -> list:
        several = getattr(self.dataset, '__getitems__', None)
        if several is None or not isinstance(indices[0], Numbered):
            return [self[index] for index in indices]
        seed_generators(SAMPLE, *self.words, *indices[0][1:])
        return several([index.index for index in indices])
