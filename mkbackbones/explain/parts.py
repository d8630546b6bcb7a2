"""What each chart adds to a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..keys import KUA, BasedKey, ManifoldKey

__all__ = ['Parts', 'aggregated', 'membership_of', 'split_key']

#: Parts that differ from the whole by less, relative to it, add up.
ROUNDING = 1e-3


@dataclass
class Parts:
    """A key, taken apart.

    Args:
        base (Tensor | None): The base chart (windows, N, C); None without one.
        charts (Tensor | None): What each chart adds to the key, output scale included,
            (H, windows, N, C); None for a key whose charts cannot be told from each other.
        add_up (bool): Whether base and charts add up to the key, but for a vector that all tokens
            have in common. Where they do not, a chart's part is what the key loses without it.
    """

    base: Tensor | None
    charts: Tensor | None
    add_up: bool


def aggregated(
    key: ManifoldKey, x: Tensor, grid: tuple[int, int] | None, num_prefix_tokens: int
) -> Tensor | None:
    """The charts z (windows, N, H, d) that a key aggregates; None where it goes another way."""
    kept: list[Tensor] = []
    own = key.aggregate

    def keep(z: Tensor, x: Tensor) -> Tensor:
        kept.append(z)
        return own(z, x)

    key.aggregate = keep  # type: ignore[method-assign]
    try:
        key.charts(x, grid, num_prefix_tokens)
    finally:
        del key.aggregate
    return kept[0] if kept else None


@torch.no_grad()
def split_key(
    key: BasedKey, x: Tensor, grid: tuple[int, int] | None, num_prefix_tokens: int
) -> Parts:
    """Take a key apart.

    Args:
        key (BasedKey): The key.
        x (Tensor): Tokens (windows, N, C).
        grid (tuple[int, int], optional): Their rows and columns.
        num_prefix_tokens (int): Class and register tokens before the grid.
    """
    base = None if key.base is None else key.base(x)
    z = aggregated(key, x, grid, num_prefix_tokens) if isinstance(key, ManifoldKey) else None
    if z is None:
        return Parts(base, None, False)
    aggregation: Any = key
    charts = range(z.shape[-2])
    nothing, whole = torch.zeros_like(z), aggregation.aggregate(z, x)
    constant = aggregation.aggregate(nothing, x)

    def only(chart: int) -> Tensor:
        alone = nothing.clone()
        alone[..., chart, :] = z[..., chart, :]
        return aggregation.aggregate(alone, x) - constant

    parts = torch.stack([only(chart) for chart in charts])
    error = (whole - constant - parts.sum(0)).abs().max()
    add_up = bool(error <= ROUNDING * whole.abs().max().clamp(min=1e-30))
    if not add_up:

        def without(chart: int) -> Tensor:
            others = z.clone()
            others[..., chart, :] = 0
            return whole - aggregation.aggregate(others, x)

        parts = torch.stack([without(chart) for chart in charts])
    return Parts(base, parts if key.base is None else key.out_scale * parts, add_up)


@torch.no_grad()
def membership_of(key: BasedKey, x: Tensor) -> Tensor | None:
    """Soft chart membership (windows, N, H) of tokens; None for keys without one."""
    return key.membership(x) if isinstance(key, KUA) else None
