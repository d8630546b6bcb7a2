"""Colours, marks and sizes that all plots of a report share."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

__all__ = [
    'COLOURS',
    'DARK',
    'FONT',
    'INK',
    'LIGHT',
    'LINE',
    'MUTED',
    'PAPER',
    'SMALL',
    'Look',
    'columns_of',
    'new_figure',
    'spread',
    'tidy',
    'to_svg',
]

#: Colours by role. Plots are drawn in the light ones; a page replaces them by its scheme's. Those
#: of the arms (Okabe and Ito's, darker where needed) are told apart by colour-blind readers.
LIGHT = {
    'ink': '#1f2329',
    'muted': '#59626c',
    'line': '#d3d9df',
    'paper': '#fefefe',
    'accent': '#b35a00',
    'arm-0': '#4d4d4f',
    'arm-1': '#0072b2',
    'arm-2': '#d55e00',
    'arm-3': '#00926b',
    'arm-4': '#b8568f',
    'arm-5': '#a87b00',
    'arm-6': '#3a9fd8',
    'arm-7': '#6a4c93',
}
DARK = {
    'ink': '#e8eaed',
    'muted': '#a3abb4',
    'line': '#3b424a',
    'paper': '#15181c',
    'accent': '#ffa64d',
    'arm-0': '#b9bec4',
    'arm-1': '#4aa8e8',
    'arm-2': '#ff8a3d',
    'arm-3': '#2fc79b',
    'arm-4': '#e58cc0',
    'arm-5': '#e3b341',
    'arm-6': '#8fd0f5',
    'arm-7': '#b79be0',
}
INK, MUTED, LINE, PAPER = (LIGHT[name] for name in ('ink', 'muted', 'line', 'paper'))
COLOURS = [colour for name, colour in LIGHT.items() if name.startswith('arm-')]
MARKERS = 'osD^vPX'

#: Width of a plot in points. A phone shows a point as about a pixel.
WIDTH = 360
FONT = 10.5
SMALL = 9.5


class Look:
    """Colour, mark and label of each arm, the same in every plot.

    Args:
        labels (dict[str, str]): Label of each arm; the order gives the colours.
    """

    def __init__(self, labels: dict[str, str]) -> None:
        self.labels = labels
        self._index = {arm: i for i, arm in enumerate(labels)}

    def colour(self, arm: str) -> str:
        """Colour of an arm."""
        return COLOURS[self._index[arm] % len(COLOURS)]

    def marker(self, arm: str) -> str:
        """Mark of an arm."""
        return MARKERS[self._index[arm] % len(MARKERS)]

    def legend(self, figure: Figure, title: str, arms: Sequence[str]) -> None:
        """Title and names of arms above a plot that has no room for labels at its marks."""
        handles = [
            Line2D([], [], color=self.colour(a), marker=self.marker(a), ls='', label=self.labels[a])
            for a in arms
        ]
        figure.legend(
            handles=handles,
            title=title,
            title_fontproperties=dict(size=FONT, weight='bold'),
            alignment='left',
            labelcolor=INK,
            loc='outside upper left',
            ncols=columns_of(self.labels[arm] for arm in arms),
            fontsize=SMALL,
            frameon=False,
            handletextpad=0.2,
            columnspacing=1.2,
            borderpad=0,
            handlelength=1,
        ).get_title().set_color(INK)


def columns_of(names: Iterable[str]) -> int:
    """How many names of a legend fit side by side."""
    longest = max(map(len, names))
    return 1 if longest > 22 else 2 if longest > 12 else 3


def new_figure(height: float) -> Figure:
    """An empty figure as wide as a phone; the height is in points."""
    return Figure(figsize=(WIDTH / 72, height / 72), layout='constrained', facecolor=PAPER)


def tidy(axis: Axes, title: str = '', left: bool = False, ticks: int = 6) -> None:
    """Take away what carries no information; ``left`` keeps the vertical axis.

    Ticks do not depend on the size of the axes, or the layout would depend on itself and labels
    might end up outside.
    """
    axis.set_facecolor('none')
    axis.xaxis.set_major_locator(MaxNLocator(ticks))
    if left:
        axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.spines[['top', 'right']].set_visible(False)
    axis.spines['left'].set_visible(left)
    for spine in axis.spines.values():
        spine.set_color(MUTED)
    axis.tick_params(colors=MUTED, labelsize=SMALL, length=3)
    axis.xaxis.label.set(color=MUTED, fontsize=SMALL)
    axis.yaxis.label.set(color=MUTED, fontsize=SMALL)
    if title:
        axis.set_title(title, loc='left', color=INK, fontsize=FONT, fontweight='bold')


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move labels apart so that neighbours are ``gap`` apart, and each near its place."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    # Runs of labels that touch: their mean place, and which ones.
    runs: list[tuple[float, list[int]]] = []
    for i in order:
        runs.append((places[i], [i]))
        while len(runs) > 1:
            (low, first), (high, second) = runs[-2:]
            if high - low >= gap * (len(first) + len(second)) / 2:
                break
            mean = (low * len(first) + high * len(second)) / (len(first) + len(second))
            runs[-2:] = [(mean, first + second)]
    moved = [0.0] * len(places)
    for centre, members in runs:
        for position, i in enumerate(members):
            moved[i] = centre + gap * (position - (len(members) - 1) / 2)
    return moved


def to_svg(figure: Figure, name: str) -> bytes:
    """Render a figure; text becomes outlines, so that it looks the same everywhere."""
    buffer = io.BytesIO()
    settings: Any = {'svg.fonttype': 'path', 'svg.hashsalt': name, 'path.simplify': True}
    with matplotlib.rc_context(settings):
        figure.savefig(buffer, format='svg', metadata={'Date': None})
    return buffer.getvalue()
