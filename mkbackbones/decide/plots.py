"""The trade-off of thresholds, as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from .by_class import ByClass
from .looked import Looked
from .thresholds import trade_off

__all__ = ['class_plots', 'plot']

COLOURS = ('#0072b2', '#d55e00')
#: Classes that are drawn; a page of more is none to read.
MOST = 24
GOOD, DEFECTIVE = 'good images with an alarm', 'defective images with an alarm'


def plot(threshold: float, splits: Mapping[str, Looked]) -> str:
    """Recall against false alarms of each split, and the threshold.

    Args:
        threshold (float): The one that was chosen.
        splits (Mapping[str, Looked]): The images by split.
    """
    figure = new_figure(7, 4.2)
    axes = figure.add_subplot(xlabel=GOOD, ylabel=DEFECTIVE)
    for (name, looked), colour in zip(splits.items(), COLOURS):
        draw(axes, looked.score, looked.defective, threshold, name, colour)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc='lower right')
    return svg(figure)


def class_plots(found: ByClass, splits: Mapping[str, Looked]) -> tuple[str, list[str]]:
    """The same for each class: of its images, and of the good ones.

    Args:
        found (ByClass): The thresholds.
        splits (Mapping[str, Looked]): The images by split.

    Returns:
        tuple[str, list[str]]: The plots; classes that are not drawn.
    """
    limits = found.limits
    parts: dict[str, list[tuple[str, np.ndarray, np.ndarray, str]]] = {}
    for (split, looked), colour in zip(splits.items(), COLOURS):
        scored = looked.scored
        for column, name in enumerate(scored.classes):
            has = scored.truth[:, column]
            tells = has | ~scored.defective
            if has.any() and not scored.defective.all():
                part = (split, scored.score[tells, column], has[tells], colour)
                parts.setdefault(name, []).append(part)
    drawn = [each.name for each in found.points if each.name in parts][:MOST]
    left_out = [each.name for each in found.points if each.name not in drawn]
    if not drawn:
        return '', left_out
    across = min(3, len(drawn))
    down = -(-len(drawn) // across)
    figure = new_figure(3.2 * across, 2.9 * down + 0.3)
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for axes, name in zip(grid.flat, drawn):
        axes.set_title(f'{name}, above {limits[name]:.4g}', fontsize=10, parse_math=False)
        for split, score, has, colour in parts[name]:
            draw(axes, score, has, limits[name], split, colour)
    for axes in grid.flat[len(drawn) :]:
        axes.set_visible(False)
    grid.flat[0].legend(loc='lower right', fontsize=8)
    figure.supxlabel(GOOD, fontsize=10)
    figure.supylabel('images of the class with an alarm', fontsize=10)
    return svg(figure), left_out


def draw(
    axes: Any, score: np.ndarray, positive: np.ndarray, limit: float, name: str, colour: str
) -> None:
    """A curve, and the point of a threshold on it."""
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    if positive.all() or not positive.any():
        return  # nothing to trade
    _, false_alarms, recall = trade_off(score, positive)
    axes.step(false_alarms, recall, where='post', label=name, color=colour)
    alarm = score > limit
    axes.plot(
        alarm[~positive].mean(),
        alarm[positive].mean(),
        'o',
        color=colour,
        label=f'{name}, at this threshold',
    )


def new_figure(width: float, height: float) -> Any:
    """A figure of so many inches that is written as SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasSVG(figure)
    return figure


def svg(figure: Any) -> str:
    """A figure as it stands within a page."""
    file = io.StringIO()
    figure.savefig(file, format='svg')
    return file.getvalue()[file.getvalue().index('<svg') :]
