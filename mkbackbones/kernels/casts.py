"""Parameters in half precision, many in one call.

Autocast casts each parameter, and each gradient, on its own: small kernels that keep the CPU busy
longer than the GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..compat.private import copy_all, counts_changes, versions, views_of

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    Tensors = TypeVarTuple('Tensors')  # each a Tensor or None

#: What a copy is made of: one parameter, or query-and-value's and the key's.
Parts = tuple[Tensor, ...]
#: Copies of other sizes would move those behind them off the alignment of matrix products.
ALIGNED = 8


def copy_pairs(pairs: Iterable[tuple[Tensor | None, Tensor | None]]) -> None:
    """Copy to each first tensor the second; pairs that lack one are left out."""
    whole = [(to, source) for to, source in pairs if to is not None and source is not None]
    copy_all(*map(list, zip(*whole)))


def qkv_parts(
    fused: Tensor, qv: Tensor | None, key: Tensor | None
) -> list[tuple[Tensor, Tensor | None]]:
    """Query, key and value part of a fused tensor, each with the parameter that it belongs to."""
    q, k, v = fused.chunk(3)
    of_q, of_v = (None, None) if qv is None else qv.chunk(2)
    return [(q, of_q), (k, key), (v, of_v)]


def empty_qkv(
    dtype: torch.dtype, qv: Tensor, key: Tensor | None
) -> tuple[Tensor, list[tuple[Tensor, Tensor | None]]]:
    """A fused tensor (3 d, ...) to be filled in, and its :func:`qkv_parts`."""
    fused = qv.new_empty(qv.shape[0] // 2 * 3, *qv.shape[1:], dtype=dtype)
    return fused, qkv_parts(fused, qv, key)


class ReadyCopies:
    """The copies of one forward pass, and what it asks for.

    Args:
        dtype (torch.dtype): Type of the copies.
        known (list[Parts]): What to copy, on one device; :func:`qkv_parts` joins two parts.
    """

    def __init__(self, dtype: torch.dtype, known: list[Parts]) -> None:
        self.dtype = dtype
        self.copies: dict[tuple[int, ...], tuple[Tensor, list[int]]] = {}
        self.taken: dict[tuple[int, ...], Parts] = {}
        if not known:
            return
        single = [parts[0] for parts in known if len(parts) == 1]
        memory = known[0][0].new_empty(sum(part.numel() for part in single), dtype=dtype)
        copies = views_of(memory, single) if single else ()
        pairs: list[tuple[Tensor, Tensor | None]] = list(zip(copies, single))
        for copy, part in zip(copies, single):
            self.copies[(id(part),)] = copy, versions([part])
        for qv, key in (parts for parts in known if len(parts) == 2):
            fused, of_both = empty_qkv(dtype, qv, key)
            pairs += of_both
            self.copies[id(qv), id(key)] = fused, versions((qv, key))
        copy_pairs(pairs)

    def copy_of(self, *parts: Tensor) -> Tensor | None:
        """The copy of a parameter or a pair; None where there is none, but it is noted."""
        place = tuple(map(id, parts))
        copy, noted = self.copies.get(place, (None, None))
        if copy is None and not can_be_ready(parts):
            return None
        self.taken[place] = parts
        return copy if copy is not None and noted == versions(parts) else None


def can_be_ready(parts: Parts) -> bool:
    """Whether the next pass may have a copy ready, and can tell whether it is still right."""
    return counts_changes() and all(
        type(part) is nn.Parameter and part.numel() % ALIGNED == 0 and not part.is_inference()
        for part in parts
    )


running: ContextVar[ReadyCopies | None] = ContextVar('running', default=None)


class HalfParameters:
    """Half-precision copies of a backbone's parameters, made in one call for each forward pass.

    Layers ask for copies where they need them (:func:`half_copies`, :func:`half_qkv`). What one
    pass asked for is copied at the start of the next. What is new, changes in between, or is not a
    parameter is copied where it is asked for, as without this.
    """

    def __init__(self) -> None:
        self.known: dict[tuple[int, ...], Parts] = {}

    def __reduce__(self) -> tuple:
        return HalfParameters, ()  # another model has other parameters

    @contextmanager
    def ready(self, dtype: torch.dtype, device: torch.device) -> Iterator[None]:
        """Run one forward pass with copies at hand.

        Args:
            dtype (torch.dtype): The half precision.
            device (torch.device): Where the pass runs.
        """
        known = [parts for parts in self.known.values() if parts[0].device == device]
        with torch.no_grad():
            this = ReadyCopies(dtype, known)
        token = running.set(this)
        try:
            yield
        finally:
            running.reset(token)
            self.known = this.taken


def ready_copies(dtype: torch.dtype) -> ReadyCopies | None:
    """The running forward pass, if it has copies in this type."""
    this = running.get()
    return this if this is not None and this.dtype == dtype else None


def half_copies(dtype: torch.dtype, *tensors: Unpack[Tensors]) -> tuple[Unpack[Tensors]]:
    """Copies of tensors in another type; None for None."""
    this = ready_copies(dtype)
    copies: list[Any] = []
    missing = []
    each: tuple[Any, ...] = tensors
    for tensor in each:
        copy = None if this is None or tensor is None else this.copy_of(tensor)
        if copy is None and tensor is not None:
            copy = torch.empty_like(tensor, dtype=dtype)
            missing.append((copy, tensor))
        copies.append(copy)
    if missing:
        copy_pairs(missing)
    return tuple(copies)


def half_qkv(dtype: torch.dtype, qv: Tensor, key: Tensor | None) -> Tensor:
    """Query's, the key's and value's parameters as one copy in another type; zeros for no key.

    Args:
        dtype (torch.dtype): The type.
        qv (Tensor): Weight (2 d, C) or bias (2 d,) of query and value.
        key (Tensor, optional): Weight (d, C) or bias (d,) of the key.
    """
    this = ready_copies(dtype)
    fused = None if this is None or key is None else this.copy_of(qv, key)
    if fused is None:
        fused, pairs = empty_qkv(dtype, qv, key)
        if key is None:
            pairs[1][0].zero_()
        copy_pairs(pairs)
    return fused
