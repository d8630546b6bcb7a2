"""Tensors in another type, many in one call.

Autocast casts each parameter, and each gradient, on its own: small kernels that keep the CPU busy
longer than the GPU.
"""

from collections.abc import Iterable

import torch
from torch import Tensor


def copy_pairs(pairs: Iterable[tuple[Tensor | None, Tensor | None]]) -> None:
    """Copy to each first tensor the second; pairs that lack one are left out."""
    whole = [(to, source) for to, source in pairs if to is not None and source is not None]
    torch._foreach_copy_(*map(list, zip(*whole)))


def half_copies(dtype: torch.dtype, *tensors: Tensor | None) -> list[Tensor | None]:
    """Copies of tensors in another type; None for None."""
    copies = [None if t is None else torch.empty_like(t, dtype=dtype) for t in tensors]
    copy_pairs(zip(copies, tensors))
    return copies
