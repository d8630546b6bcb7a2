"""Scatter plots: gain against cost, and downstream gain against classification gain."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import Analysis, Difference
from .style import LINE, MUTED, Look, new_figure, tidy

__all__ = ['COST_NAMES', 'carry_over_scatter', 'cost_scatter']

COST_NAMES = {
    'parameters': 'parameters',
    'flops': 'operations',
    'step_seconds': 'training step',
    'inference_seconds': 'inference',
    'peak_memory': 'peak memory',
}


def cost_scatter(analysis: Analysis, look: Look, task: str) -> Figure | None:
    """Gain in the primary metric over additional cost, a panel a cost; None without costs."""
    rows = [e for e in analysis.efficiency if e.task == task]
    costs = [cost for cost in COST_NAMES if any(e.cost == cost for e in rows)]
    if not costs:
        return None
    count = math.ceil(len(costs) / 2)
    arms = list(dict.fromkeys(e.arm for e in rows))
    figure = new_figure(66 + 118 * count + 13 * len(arms))
    axes = figure.subplots(count, 2, sharey=True, squeeze=False)
    for axis, cost in zip(axes.flat, costs):
        tidy(axis, left=axis in axes[:, 0], ticks=4)
        axis.axhline(0, color=MUTED, lw=1)
        axis.axvline(0, color=LINE, lw=1)
        for e in rows:
            found = analysis.difference(task, e.arm)
            if e.cost == cost and found is not None:
                mark(axis, look, e.arm, x=e.increase, y=found)
        axis.margins(x=0.18)
        axis.set_xlabel(f'{COST_NAMES[cost]}, % more')
    for axis in axes.flat[len(costs) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel(f'{analysis.primary[task]}, points')
    for axis in axes[:, 1]:
        axis.tick_params(left=False)
    look.legend(figure, task, arms)
    return figure


def carry_over_scatter(
    analysis: Analysis, look: Look, task: str, classification: str
) -> Figure | None:
    """Gains downstream over gains in classification: a small mark a seed, a large one the mean."""
    arms = {
        arm: (below, above)
        for arm in analysis.labels
        if arm != analysis.baseline
        and (above := analysis.difference(task, arm))
        and (below := analysis.difference(classification, arm))
    }
    if not arms:
        return None
    figure = new_figure(255 + 13 * len(arms))
    axis = figure.subplots()
    tidy(axis, left=True)
    axis.axhline(0, color=MUTED, lw=1)
    axis.axvline(0, color=MUTED, lw=1)
    for arm, (below, above) in arms.items():
        pairs = [(x, above.per_seed[s]) for s, x in below.per_seed.items() if s in above.per_seed]
        for x, y in pairs if len(pairs) > 1 else ():
            axis.plot(x, y, look.marker(arm), color=look.colour(arm), ms=4.5, alpha=0.75, mew=0)
        mark(axis, look, arm, x=below, y=above)
    axis.set_xlabel(f'{classification}: {analysis.primary[classification]}, points')
    axis.set_ylabel(f'{task}: {analysis.primary[task]}, points')
    look.legend(figure, task, list(arms))
    return figure


def mark(axis: Axes, look: Look, arm: str, x: Difference | float, y: Difference) -> None:
    """One arm, with its intervals as a cross; hollow where it rests on one seed."""
    colour = look.colour(arm)
    place = x.mean if isinstance(x, Difference) else x
    if isinstance(x, Difference) and x.low is not None and x.high is not None:
        axis.plot([x.low, x.high], [y.mean, y.mean], color=colour, lw=1.2)
    if y.low is not None and y.high is not None:
        axis.plot([place, place], [y.low, y.high], color=colour, lw=1.2)
    filled = colour if y.num_seeds > 1 else 'none'
    axis.plot(place, y.mean, look.marker(arm), color=colour, mfc=filled, ms=7)
