"""Tensors that stay where they are, for what goes into recordings and comes out of them."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor


class Statics:
    """Memory that all recordings of a device share: they run one after the other.

    One buffer for each name and type, as large as the largest tensor of that name; a smaller one
    is its beginning.
    """

    def __init__(self) -> None:
        self.buffers: dict[Hashable, Tensor] = {}

    def like(self, name: Hashable, wanted: Tensor) -> Tensor:
        """A tensor of the shape, type and order in memory of another one; its values are anything.

        Args:
            name (Hashable): What it is for. Tensors of two names do not overlap.
            wanted (Tensor): The other one, any shape.
        """
        key = name, wanted.dtype
        buffer = self.buffers.get(key)
        if buffer is None or buffer.numel() < wanted.numel():
            buffer = wanted.detach().new_empty(wanted.numel())
            self.buffers[key] = buffer
        strides = torch.empty_like(wanted, device='meta').stride()
        return buffer.as_strided(wanted.shape, strides)
