"""A profile as a Markdown table and as a plot."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from ..files import written_aside
from .goals import Verdict
from .results import Profile, Row, median

COLUMNS = (
    'backbone',
    'train ms',
    'of it GPU',
    'x floor',
    'inference ms',
    'of it GPU',
    'x floor',
    'train MiB',
    'inference MiB',
    'params M',
    'GFLOP',
    'launches',
    'note',
)
COLOURS = {'mmdet': '#c44e52', 'mmseg': '#dd8452', 'mmpretrain': '#937860', 'timm': '#8c8c8c'}
QUANTITIES = {
    'train_ms': 'train',
    'inference_ms': 'inference',
    'train_busy_ms': 'train, GPU time',
    'inference_busy_ms': 'inference, GPU time',
    'train_peak_mib': 'train memory',
}


def markdown(profile: Profile, verdicts: list[Verdict]) -> str:
    """The report: what was run where, a table for each size and precision, and the goals."""
    env, settings, rates = profile.environment, profile.settings, profile.rates
    versions = ', '.join(f'{name} {version}' for name, version in env['versions'].items())
    tflops = ', '.join(f'{name} {rate:.1f}' for name, rate in rates['matrix_tflops'].items())
    step = 'forward, backward and AdamW' if settings['optimizer'] else 'forward and backward'
    lines = [
        '# Backbones side by side',
        '',
        f'{env["device"]}, {env["date"]}, {versions}. A train step is {step}; '
        f'{settings["rounds"]} rounds, median [smallest, largest]. Measured: matrix products '
        f'{tflops} TFLOP/s, copies {rates["bandwidth_gbs"]:.0f} GB/s.',
    ]
    for (size, precision), rows in grouped(profile):
        lines += ['', f'## {size}, {precision}', '', *table(COLUMNS, map(cells, rows))]
    if verdicts:
        header = ('goal', 'quantity', 'backbone', 'compared with', 'size', 'ratio', 'limit', '')
        lines += ['', '## Goals', '', *table(header, map(goal_cells, verdicts))]
    return '\n'.join(lines) + '\n'


def grouped(profile: Profile) -> list[tuple[tuple[str, str], list[Row]]]:
    """The rows by size and precision, in the order in which they were run."""
    groups = groupby(profile.rows, key=lambda row: (row.size, row.precision))
    return [(key, list(rows)) for key, rows in groups]


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Lines of a Markdown table, padded so that it reads well as text too."""
    rows = [header, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ['| ' + ' | '.join(c.ljust(w) for c, w in zip(row, widths)) + ' |' for row in rows]
    return [lines[0], '|' + '|'.join('-' * (w + 2) for w in widths) + '|', *lines[1:]]


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table."""
    return (
        row.backbone,
        spread(row.train_ms),
        number(row.train_busy_ms, '.1f'),
        over(row.median('train_ms'), row.train_floor_ms),
        spread(row.inference_ms),
        number(row.inference_busy_ms, '.1f'),
        over(row.median('inference_ms'), row.inference_floor_ms),
        number(row.train_peak_mib, '.0f'),
        number(row.inference_peak_mib, '.0f'),
        number(None if row.parameters is None else row.parameters / 1e6, '.1f'),
        number(row.gflops, '.1f'),
        number(row.train_launches, 'd') + ' / ' + number(row.inference_launches, 'd'),
        row.note.replace('|', '/'),
    )


def goal_cells(verdict: Verdict) -> tuple[str, ...]:
    """A row of the goals' table."""
    goal = verdict.goal
    result = {True: 'holds', False: 'MISSED', None: 'not measured'}[verdict.holds]
    return (
        goal.name,
        QUANTITIES[goal.quantity],
        goal.numerator,
        verdict.denominator or 'its own kernels',
        goal.size,
        '-' if verdict.ratio is None else '{:.3f} [{:.3f}, {:.3f}]'.format(*verdict.ratio),
        f'{goal.limit:.3f}',
        result,
    )


def spread(values: list[float]) -> str:
    """Median and range."""
    if not values:
        return '-'
    return f'{median(values):.2f} [{min(values):.2f}, {max(values):.2f}]'


def over(value: float | None, floor: float | None) -> str:
    """How many times the floor."""
    return number(value / floor if value and floor else None, '.1f')


def number(value: float | None, form: str) -> str:
    """A number, or a dash where there is none."""
    return '-' if value is None else format(value, form)


def plot(profile: Profile, path: Path) -> None:
    """Draw train step and inference of every backbone, with spread, floor and what the GPU takes.

    Writes a PNG.
    """
    from matplotlib.figure import Figure

    groups = grouped(profile)
    heights = [len(rows) for _, rows in groups]
    figure = Figure(figsize=(11, 1 + sum(0.28 * height + 0.9 for height in heights)))
    figure.set_layout_engine('constrained')
    axes = figure.subplots(len(groups), 2, squeeze=False, height_ratios=heights, sharey='row')
    for pair, ((size, precision), rows) in zip(axes, groups):
        for ax, kind in zip(pair, ('train', 'inference')):
            for place, row in enumerate(rows):
                values = getattr(row, f'{kind}_ms')
                if not values:
                    ax.text(0, place, ' not measured', va='center', fontsize=7, color='#888888')
                    continue
                middle = row.median(f'{kind}_ms')
                error = [[middle - min(values)], [max(values) - middle]]
                colour = COLOURS.get(row.backbone.split(':')[0], '#4c72b0')
                ax.barh(place, middle, xerr=error, color=colour, height=0.7, ecolor='black')
                for quantity, line in (('floor', 'black'), ('busy', 'white')):
                    if at := getattr(row, f'{kind}_{quantity}_ms'):
                        ax.plot([at, at], [place - 0.35, place + 0.35], color=line, lw=1.5)
            ax.set_yticks(range(len(rows)), [row.backbone for row in rows], fontsize=8)
            ax.set_ylim(len(rows) - 0.5, -0.5)
            ax.set_xlim(left=0)
            ax.set_title(
                f'{size}, {precision}: {kind}, ms (black: floor, white: GPU alone)', fontsize=9
            )
            ax.spines[['top', 'right']].set_visible(False)
    with written_aside(path) as work:
        figure.savefig(work, format='png', dpi=120)
