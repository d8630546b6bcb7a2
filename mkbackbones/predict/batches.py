"""Batches of what has one size, and smaller ones where the GPU's memory does not do."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

from ..runner.errors import InputError

__all__ = ['Halving', 'ahead', 'batched']

Item = TypeVar('Item')
_WAIT = 0.1


def ahead(items: Iterable[Item], count: int) -> Generator[Item, None, None]:
    """The same items, made in a thread of its own while the caller is at work.

    Args:
        items (Iterable): What is made; an error in it is raised here, in its place.
        count (int): How many may wait.
    """
    waiting: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(count)
    stopped = threading.Event()

    def put(item: Item | None, error: BaseException | None = None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put((item, error), timeout=_WAIT)
                return

    def make() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
        except BaseException as error:
            put(None, error)
        else:
            put(None, StopIteration())

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()


def batched(
    items: Iterable[Item], size: Callable[[], int], shape: Callable[[Item], Any]
) -> Iterator[list[Item]]:
    """Neighbours of one shape, as nothing is padded to the size of something else.

    Args:
        items (Iterable): What is batched, in its order.
        size (Callable): The most that a batch may have at the moment.
        shape (Callable): Shape of an item; one with None is a batch of its own.
    """
    batch: list[Item] = []
    for item in items:
        if batch and (shape(item) is None or shape(item) != shape(batch[0])):
            yield batch
            batch = []
        batch.append(item)
        if len(batch) >= size() or shape(item) is None:
            yield batch
            batch = []
    if batch:
        yield batch


class Halving:
    """A function of a batch, called with halves of it when the GPU's memory does not do.

    Args:
        run (Callable): Takes a list and returns one of the same length.
        size (int): The most that a batch may have; it falls for good.
    """

    def __init__(self, run: Callable[[list[Any]], list[Any]], size: int) -> None:
        self.run, self.size = run, size

    def __call__(self, batch: list[Any]) -> list[Any]:
        """Results of a batch.

        Raises:
            InputError: The memory does not do for one.
        """
        results: list[Any] = []
        while len(results) < len(batch):
            part = batch[len(results) : len(results) + self.size]
            found = self._try(part)
            if found is not None:
                results += found
                continue
            if len(part) == 1:
                raise InputError(
                    'the memory of the GPU does not do for a single picture; give --tile, a '
                    'smaller one, --amp bf16, or --device cpu'
                )
            self.size = len(part) // 2
            print(
                f'the memory of the GPU does not do for {len(part)} at once: batches of '
                f'{self.size} from here on',
                file=sys.stderr,
            )
        return results

    def _try(self, part: list[Any]) -> list[Any] | None:
        """Results, or None where the memory does not do."""
        import torch

        try:
            return self.run(part)
        except torch.cuda.OutOfMemoryError:
            pass  # what holds on to the memory is let go with the error, before it is emptied
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None
