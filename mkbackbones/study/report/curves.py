"""Learning curves: training loss and validation metric over iterations, by arm."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..records.results import StudyResults
from .style import SMALL, Look, new_figure, spread, tidy

__all__ = ['Curve', 'chart_curves', 'learning_curves', 'mean_curve', 'smoothed']

MAX_POINTS = 150
#: Names of more arms do not fit beside their lines.
MOST_NAMED = 4

#: What ChartInfoHook writes -> its name beside an axis.
CHART_ENTRIES = {
    'charts_over_base': 'charts / base',
    'out_scale': 'output scale',
    'gamma_spread': 'spread of Gamma',
    'distance': 'distance of charts',
}

#: Iterations and, at each, the values of all seeds: (points,) and (seeds, points).
Curve = tuple[np.ndarray, np.ndarray]


def learning_curves(results: StudyResults, look: Look, task: str) -> Figure | None:
    """Loss above, validation metric below: mean over seeds, the band from lowest to highest."""
    runs = {arm: list(results.of(task, arm).values()) for arm in results.info.arms}
    runs = {arm: found for arm, found in runs.items() if found}
    losses = {
        arm: mean_curve([smoothed(run.losses) for run in found]) for arm, found in runs.items()
    }
    scores = {
        arm: mean_curve([np.array(run.val_curve, dtype=float).reshape(-1, 2).T for run in found])
        for arm, found in runs.items()
    }
    primary = results.info.tasks[task].primary
    panels = [('training loss', losses), (f'{primary}, validation', scores)]
    return _drawn(panels, look, task, list(runs))


def chart_curves(results: StudyResults, look: Look, task: str) -> Figure | None:
    """How charts moved, where runs have looked: mean over seeds, the band as above."""
    runs = {arm: list(results.of(task, arm).values()) for arm in results.info.arms}
    found = {arm: [run.charts for run in every if run.charts] for arm, every in runs.items()}
    found = {arm: every for arm, every in found.items() if every}
    panels = []
    for entry, name in CHART_ENTRIES.items():
        curves = {
            arm: mean_curve([np.array([each['iteration'], each[entry]]) for each in every])
            for arm, every in found.items()
            if all(entry in each for each in every)
        }
        panels.append((name, curves))
    return _drawn(panels, look, task, list(found))


def _drawn(
    given: Sequence[tuple[str, dict[str, Curve | None]]], look: Look, task: str, arms: list[str]
) -> Figure | None:
    """Panels below each other; None without a course to show."""
    panels = [
        # A single point is no course.
        (name, {arm: c for arm, c in curves.items() if c is not None and c[0].size > 1})
        for name, curves in given
    ]
    panels = [(name, curves) for name, curves in panels if curves]
    if not panels:
        return None
    direct = len(arms) <= MOST_NAMED
    figure = new_figure(30 + 170 * len(panels) + (0 if direct else 16 * len(arms)))
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axis, (name, curves) in zip(axes, panels):
        tidy(axis, task if axis is axes[0] and direct else '', left=True)
        ends = _draw(axis, curves, look)
        if direct:
            _name(axis, ends, look)
        axis.set_ylabel(name)
    if not direct:
        look.legend(figure, task, arms)
    axes[-1].set_xlabel('iteration')
    return figure


def smoothed(losses: Sequence[float]) -> np.ndarray:
    """Means of up to 150 equal stretches of a loss: iteration and value, (2, points)."""
    values = np.asarray(losses, dtype=float)
    count = min(len(values), MAX_POINTS)
    if count == 0:
        return np.zeros((2, 0))
    ends = np.linspace(0, len(values), count + 1).round().astype(int)[1:]
    sums = np.concatenate([[0.0], np.cumsum(values)])
    starts = np.concatenate([[0], ends[:-1]])
    return np.stack([ends, (sums[ends] - sums[starts]) / (ends - starts)])


def mean_curve(curves: Sequence[np.ndarray]) -> Curve | None:
    """Curves of several seeds on the iterations of the shortest one; None if one is empty.

    Args:
        curves (Sequence[ndarray]): Iteration and value of each, (2, points).
    """
    shortest = min(curves, key=lambda curve: curve[0, -1] if curve.shape[1] else 0)
    if not shortest.shape[1]:
        return None
    at = shortest[0]
    return at, np.stack([np.interp(at, curve[0], curve[1]) for curve in curves])


def _draw(axis: Axes, curves: dict[str, Curve], look: Look) -> list[tuple[str, float]]:
    """Draw the curves; return at which height each one ends."""
    ends = []
    for arm, (at, values) in curves.items():
        colour, mean = look.colour(arm), values.mean(0)
        mark = look.marker(arm) if len(at) < 25 else ''
        axis.plot(at, mean, color=colour, lw=1.6, marker=mark, ms=4)
        if len(values) > 1:
            axis.fill_between(at, values.min(0), values.max(0), color=colour, alpha=0.14, lw=0)
        ends.append((arm, float(mean[-1])))
    return ends


def _name(axis: Axes, ends: list[tuple[str, float]], look: Look) -> None:
    """Names at the ends of lines, moved apart where they would overlap."""
    low, high = axis.get_ylim()
    axis.set_ylim(low, high)
    names = {arm: textwrap.fill(look.labels[arm], 14) for arm, _ in ends}
    lines = max(name.count('\n') + 1 for name in names.values())
    gap = 0.085 * lines + 0.01
    places = spread([(y - low) / (high - low) for _, y in ends], gap)
    shift = max(0.0, max(places) - 1) or min(0.0, min(places))
    for (arm, _), place in zip(ends, places):
        axis.text(
            1.02, place - shift, names[arm], transform=axis.transAxes, va='center',
            color=look.colour(arm), fontsize=SMALL, linespacing=1.0,
        )  # fmt: skip
