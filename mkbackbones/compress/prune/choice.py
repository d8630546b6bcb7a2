"""Which charts go first: by how much attention changes for what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .blocks import BlockCosts

__all__ = ['Choice', 'choices']

#: Share of a layer's variance, and change of its attention in nats, that are nothing: rounding, and
#: the ridge of the fits.
NOTHING = 1e-5


@dataclass(frozen=True)
class Choice:
    """How many charts each layer keeps.

    Args:
        counts (tuple[int, ...]): Of each layer.
        share (float): Share of the charts' operations that stay.
        free (bool): Whether what is taken out so far costs nothing.
    """

    counts: tuple[int, ...]
    share: float
    free: bool


def choices(costs: Sequence[BlockCosts], budget: float | None = None) -> list[Choice]:
    """Ever fewer charts: what changes attention least for the operations that it saves goes first.

    Charts that cost nothing are gone in the first choice already. Where a layer's attention could
    not be listened to, shares of the charts' variance are compared instead, in all layers.

    Args:
        costs (Sequence[BlockCosts]): What the charts of each layer are worth.
        budget (float, optional): Stop where no larger share of the charts' operations stays.

    Returns:
        list[Choice]: The last one keeps the least.

    Raises:
        ValueError: The budget cannot be met, as keys without a base chart keep one chart.
    """
    heard = all(c is not None for each in costs for c in each.changes[each.least :])
    prices = [
        [0.0 if c is None else c for c in each.changes] if heard else [1 - s for s in each.shares]
        for each in costs
    ]
    whole = sum(each.charts * each.flops for each in costs)
    counts = [free_count(each) for each in costs]

    def now(free: bool) -> Choice:
        left = sum(count * each.flops for count, each in zip(counts, costs))
        return Choice(tuple(counts), left / whole, free)

    found = [now(True)]
    while budget is None or found[-1].share > budget + 1e-9:
        spare = None if budget is None else (found[-1].share - budget) * whole
        steps = [
            ((price[to] - price[count]) / ((count - to) * each.flops), block, to)
            for block, (each, price, count) in enumerate(zip(costs, prices, counts))
            for to in range(each.least, count)
            # No further than the budget asks for.
            if to == count - 1 or spare is None or (count - to - 1) * each.flops < spare
        ]
        if not steps:
            if budget is None:
                break
            raise ValueError(
                f'--budget {budget} cannot be met: keys without a base chart keep one chart, and '
                f'{found[-1].share:.3f} of the operations stay; give that much or more'
            )
        _, block, to = min(steps)
        counts[block] = to
        found.append(now(False))
    return found


def free_count(each: BlockCosts) -> int:
    """The fewest charts with which nothing is lost."""
    count = each.charts
    while count > each.least:
        change = each.changes[count - 1]
        if 1 - each.shares[count - 1] > NOTHING or (change or 0.0) > NOTHING:
            break
        count -= 1
    return count
