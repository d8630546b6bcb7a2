"""Pictures in the batches that a model of mmengine takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ['first_pictures', 'pictures_of']


def pictures_of(batch: Any) -> int:
    """Pictures in a batch."""
    return len(batch['inputs']) if isinstance(batch, Mapping) and 'inputs' in batch else len(batch)


def first_pictures(batches: Sequence[Any], number: int) -> list[Any]:
    """The first so many pictures of some batches, as batches; fewer where there are not so many."""
    found: list[Any] = []
    for batch in batches:
        if number <= 0:
            break
        if isinstance(batch, Mapping):
            found.append({name: values[:number] for name, values in batch.items()})
        else:
            found.append(batch[:number])
        number -= pictures_of(batch)
    return found
