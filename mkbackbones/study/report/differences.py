"""Plots of what arms score and by how much they differ: forest, seed dots, bars by class."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..records.results import StudyInfo
from ..statistics import Analysis, Difference
from .style import FONT, INK, LINE, MUTED, PAPER, SMALL, Look, new_figure, tidy

__all__ = ['class_bars', 'class_differences', 'forest', 'seed_dots']

ROW = 30  # points, for a label with its mark below
MAX_CLASSES = 16
LEAST_SPAN = 0.01  # points
MAX_LABEL = 34  # characters that fit beside an interval
#: Keeps lines from crossing words.
BOX = dict(facecolor=PAPER, edgecolor='none', pad=1)


def forest(analysis: Analysis, look: Look, task: str) -> Figure | None:
    """Paired difference to the baseline with its interval, a row an arm; None without any."""
    differences = {
        arm: found
        for arm in analysis.labels
        if arm != analysis.baseline and (found := analysis.difference(task, arm))
    }
    if not differences:
        return None
    figure, axis = _rows(len(differences))
    axis.axvline(0, color=MUTED, lw=1)
    for row, (arm, found) in enumerate(differences.items()):
        colour = look.colour(arm)
        if found.low is not None and found.high is not None:
            axis.plot([found.low, found.high], [row, row], color=colour, lw=2.2)
        filled = colour if found.num_seeds > 1 else 'none'
        axis.plot(found.mean, row, look.marker(arm), color=colour, mfc=filled, ms=7)
        _label(axis, row, look.labels[arm], interval(found))
    tidy(axis, task)
    low, high = axis.get_xlim()
    if high - low < LEAST_SPAN:  # equal to the digit
        axis.set_xlim(low - LEAST_SPAN, high + LEAST_SPAN)
    axis.set_xlabel(f'{analysis.primary[task]}, points above {look.labels[analysis.baseline]}')
    return figure


def interval(found: Difference) -> str:
    """A mean difference with its interval, as short as can be."""
    if found.num_seeds == 1:
        return f'{found.mean:+.2f}, one seed'
    if found.low is None:
        return f'{found.mean:+.2f}, no interval'
    return f'{found.mean:+.2f} ({found.low:+.2f} to {found.high:+.2f})'


def seed_dots(analysis: Analysis, look: Look, task: str) -> Figure | None:
    """The primary metric of every run, a row an arm; lines join the runs of one seed."""
    metric = analysis.primary[task]
    found = [s for s in analysis.summaries if (s.task, s.metric) == (task, metric)]
    if not found:
        return None
    figure, axis = _rows(len(found))
    for seed in sorted({seed for summary in found for seed in summary.per_seed}):
        rows = [row for row, summary in enumerate(found) if seed in summary.per_seed]
        values = [found[row].per_seed[seed] for row in rows]
        axis.plot(values, rows, color=LINE, lw=1, zorder=1)
    for row, summary in enumerate(found):
        colour = look.colour(summary.arm)
        values = list(summary.per_seed.values())
        marks: dict[str, Any] = dict(color=colour, ls='', ms=6, alpha=0.75, mew=0)
        axis.plot(values, [row] * len(values), look.marker(summary.arm), **marks)
        if len(values) > 1:
            axis.plot([summary.mean] * 2, [row - 0.17, row + 0.17], color=INK, lw=2)
        mean = f'{summary.mean:.2f}'
        if summary.sd is not None:
            mean += f'\n± {summary.sd:.2f}'
        # Beside the marks: between the rows are the lines.
        axis.annotate(
            mean, (1, row), (6, 0), ('axes fraction', 'data'), textcoords='offset points',
            va='center', fontsize=SMALL, color=MUTED,
        )  # fmt: skip
    tidy(axis, task)
    names = [textwrap.shorten(look.labels[s.arm], MAX_LABEL, placeholder='…') for s in found]
    axis.set_yticks(range(len(found)), [textwrap.fill(name, 14) for name in names])
    axis.tick_params(axis='y', length=0, labelsize=FONT, labelcolor=INK)
    axis.set_xlabel(metric)
    return figure


def class_differences(
    analysis: Analysis, info: StudyInfo, task: str
) -> tuple[str, dict[str, list[Difference]]]:
    """Differences to the baseline by class, and the name of the metric; {} where there are none.

    Of more than 16 classes, those that differ most.
    """
    found: dict[str, list[Difference]] = {}
    name = ''
    for prefix in ('AP', 'IoU'):
        for label in info.tasks[task].classes:
            differences = [
                analysis.difference(task, arm, metric=f'{prefix}/{label}')
                for arm in analysis.labels
                if arm != analysis.baseline
            ]
            if any(differences):
                name = prefix
                found[label] = [d for d in differences if d]
        if found:
            break
    if len(found) > MAX_CLASSES:
        largest = {label: max(abs(d.mean) for d in ds) for label, ds in found.items()}
        kept = set(sorted(largest, key=largest.__getitem__, reverse=True)[:MAX_CLASSES])
        found = {label: ds for label, ds in found.items() if label in kept}
    return name, found


def class_bars(analysis: Analysis, info: StudyInfo, look: Look, task: str) -> Figure | None:
    """Mean difference to the baseline by class, a bar an arm; whiskers are ± one sd over seeds."""
    name, classes = class_differences(analysis, info, task)
    if not classes:
        return None
    arms = [a for a in analysis.labels if a != analysis.baseline]
    arms = [a for a in arms if any(d.arm == a for ds in classes.values() for d in ds)]
    points = 16 + 10 * len(arms) + 4  # of a row: label, bars, space
    bar, start = 10 / points, 16 / points
    height = len(classes) * points + 70 + 12 * len(arms)
    figure = new_figure(height)
    axis = figure.subplots()
    axis.axvline(0, color=MUTED, lw=1)
    for row, (label, differences) in enumerate(classes.items()):
        for found in differences:
            y = row + start + bar * (arms.index(found.arm) + 0.5)
            colour = look.colour(found.arm)
            axis.barh(y, found.mean, 0.82 * bar, color=colour, alpha=0.85, lw=0)
            if found.seed_sd is not None:
                ends = found.mean + np.array([-found.seed_sd, found.seed_sd])
                axis.plot(ends, [y, y], color=INK, lw=1)
        axis.text(
            0, row + 0.45 * start, label, transform=axis.get_yaxis_transform(), va='center',
            color=INK, fontsize=SMALL, bbox=BOX,
        )  # fmt: skip
    axis.set_ylim(len(classes), -0.1)
    axis.set_yticks([])
    tidy(axis)
    axis.set_xlabel(f'{name}, points above {look.labels[analysis.baseline]}')
    look.legend(figure, task, arms)
    return figure


def _rows(count: int) -> tuple[Figure, Axes]:
    """An axis with rows from 0 at the top, each with room for a label above its marks."""
    figure = new_figure(ROW * count + 62)
    axis = figure.subplots()
    axis.set_ylim(count - 0.55, -0.8)
    axis.set_yticks([])
    axis.margins(x=0.08)
    return figure, axis


def _label(axis: Axes, row: int, left: str, right: str) -> None:
    """Name and number above the marks of a row."""
    across = axis.get_yaxis_transform()
    style: dict[str, Any] = dict(transform=across, va='center', fontsize=FONT, color=INK, bbox=BOX)
    if len(left) > MAX_LABEL:
        left = f'{left[: MAX_LABEL - 1].rstrip()}…'
    axis.text(0, row - 0.48, left, **style)
    axis.text(1, row - 0.48, right, ha='right', **style | {'fontsize': SMALL, 'color': MUTED})
