"""Which charts go first: by how much attention changes for what they cost."""

from __future__ import annotations

import math
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
        ms (float | None): Milliseconds that the charts take that stay; None where not measured.
    """

    counts: tuple[int, ...]
    share: float
    free: bool
    ms: float | None = None


def choices(
    costs: Sequence[BlockCosts], budget: float | None = None, budget_ms: float | None = None
) -> list[Choice]:
    """Ever fewer charts: what changes attention least for what it saves goes first.

    What is saved are operations, or milliseconds where there is a budget of these. Charts that
    cost nothing are gone in the first choice already. Where a layer's attention could not be
    listened to, shares of the charts' variance are compared instead, in all layers.

    Args:
        costs (Sequence[BlockCosts]): What the charts of each layer are worth.
        budget (float, optional): Stop where no larger share of the charts' operations stays.
        budget_ms (float, optional): Stop where the charts that stay take no more milliseconds.

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
    operations = [[n * each.flops for n in range(each.charts + 1)] for each in costs]
    whole = sum(each[-1] for each in operations)
    times = [each.ms for each in costs if each.ms is not None]
    timed = len(times) == len(costs)
    if budget_ms is not None and not timed:
        raise ValueError('a budget in milliseconds needs costs that a clock has measured')
    spent, allowed = operations, math.inf if budget is None else budget * whole
    if budget_ms is not None:
        spent, allowed = times, budget_ms
    slack = 1e-9 * sum(each[-1] for each in spent)
    counts = [free_count(each) for each in costs]

    def of(each: Sequence[Sequence[float]]) -> float:
        return sum(values[count] for values, count in zip(each, counts))

    def now(free: bool) -> Choice:
        return Choice(tuple(counts), of(operations) / whole, free, of(times) if timed else None)

    found = [now(True)]
    unbounded = budget is None and budget_ms is None
    while unbounded or of(spent) > allowed + slack:
        spare = math.inf if unbounded else of(spent) - allowed
        steps = [
            ((price[to] - price[count]) / (saved[count] - saved[to]), block, to)
            for block, (each, price, saved, count) in enumerate(zip(costs, prices, spent, counts))
            for to in range(each.least, count)
            # Something is saved, and charts go no further than the budget asks for.
            if saved[to] < saved[count] and saved[count] - saved[to + 1] < spare
        ]
        if not steps:
            if unbounded:
                break
            asked = f'--budget {budget}'
            stay = f'{found[-1].share:.3f} of the operations stay; give that much or more'
            if budget_ms is not None:
                asked = f'--budget-ms {budget_ms}'
                stay = f'they take {found[-1].ms:.3f} ms; give more'  # times never come twice
            raise ValueError(
                f'{asked} cannot be met: keys without a base chart keep one chart, and {stay}'
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
