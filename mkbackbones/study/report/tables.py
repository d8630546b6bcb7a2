"""Tables of a report."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from ..records.results import RunResult, StudyInfo, StudyResults
from ..statistics import Analysis, ArmSummary, Difference, Verdict
from .blocks import Table
from .scatter import COST_NAMES

__all__ = [
    'arms_table',
    'carry_over_table',
    'cost_table',
    'crossed_table',
    'efficiency_table',
    'metric_table',
    'recall_table',
    'tasks_table',
    'verdict_table',
]

RATES = {'fa5': '5 %', 'fa1': '1 %'}  # of false alarms, by name
NONE = '–'


def verdict_table(analysis: Analysis) -> Table:
    """The verdict on each task and arm with the numbers behind it."""
    rows = []
    for verdict in analysis.verdicts:
        found = analysis.difference(verdict.task, verdict.arm)
        kind: str = verdict.kind
        for control, standing in verdict.against_controls.items():
            if verdict.kind in ('gains in both', 'better'):
                label = analysis.labels[control]
                kind += {
                    'better': f', also against {label}',
                    'undecided': f', not shown against {label}',
                    'worse': f', worse than {label}',
                }.get(standing, '')
        rows.append(
            [
                verdict.task,
                analysis.labels[verdict.arm],
                kind,
                NONE if found is None else f'{found.mean:+.2f} {found.metric}',
                ends(found),
                parts(found),
                NONE if found is None or found.p_holm is None else p_value(found.p_holm),
                seeds(found),
                needed(verdict),
            ]
        )
    header = [
        'task', 'arm', 'verdict', 'difference', '95 % interval', 'sd: seeds, test images',
        'p (Holm)', 'seeds', 'seeds needed',
    ]  # fmt: skip
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return Table(header, rows, text_columns=3, cards=True)


def needed(verdict: Verdict) -> str:
    """Seeds that would decide a verdict, where that is a question."""
    found = verdict.seeds_needed
    if found is None:
        return ''
    if found.low is None:
        return f'none: power ends at {100 * found.limit:.0f} %'
    return f'at least {found.low}' + ('' if found.high is None else f', at most {found.high}')


def seeds(found: Difference | None) -> str:
    """Seeds that count, and how many were planned where some are missing."""
    if found is None:
        return '0'
    of_all = f' of {found.num_seeds + len(found.missing)}' if found.missing else ''
    return f'{found.num_seeds}{of_all}'


def ends(found: Difference | None) -> str:
    """The interval of a difference."""
    if found is None or found.low is None:
        return NONE
    return f'{found.low:+.2f} to {found.high:+.2f}'


def parts(found: Difference | None) -> str:
    """What the interval is made of: sd of the mean by seeds, and by test images."""
    if found is None or found.seed_sd is None:
        return NONE
    by_seeds = found.seed_sd / found.num_seeds**0.5
    if found.test_sd is not None and found.standard_error is not None:
        # With folds the spread over seeds is that over test images, too.
        by_seeds = max(0.0, found.standard_error**2 - found.test_sd**2) ** 0.5
    return f'{by_seeds:.2f}, {NONE if found.test_sd is None else f"{found.test_sd:.2f}"}'


def p_value(p: float) -> str:
    """A p value as one writes it."""
    return '< 0.0001' if p < 0.0001 else f'{p:.2g}'


def metric_table(analysis: Analysis, info: StudyInfo, task: str) -> Table:
    """Metrics over all classes of one task: mean and spread, a row an arm."""
    by_arm: dict[str, dict[str, str]] = {}
    names: list[str] = []
    counts: dict[str, int] = {}
    for s in analysis.summaries:
        if s.task == task and '/' not in s.metric:
            spread = '' if s.sd is None else f' ± {s.sd:.2f}'
            by_arm.setdefault(s.arm, {})[s.metric] = f'{s.mean:.2f}{spread}'
            counts[s.arm] = s.num_seeds
            if s.metric not in names:
                names.append(s.metric)
    names.sort(key=lambda name: name != info.tasks[task].primary)
    rows = [
        [analysis.labels[arm], str(counts[arm]), *(found.get(name, NONE) for name in names)]
        for arm, found in by_arm.items()
    ]
    return Table(['arm', 'seeds', *names], rows, text_columns=1)


def recall_table(analysis: Analysis) -> Table | None:
    """Defective images found at few false alarms; None where no task defines it."""
    rows = []
    for name, rate in RATES.items():
        false = {
            (s.task, s.arm): s for s in analysis.summaries if s.metric == f'falsealarms@{name}'
        }
        for s in analysis.summaries:
            if s.metric == f'recall@{name}':
                found = analysis.difference(s.task, s.arm, metric=s.metric)
                difference = NONE if found is None else f'{found.mean:+.1f}'
                real = false.get((s.task, s.arm))
                values = [_spread(s), NONE if real is None else _spread(real), difference]
                label = analysis.labels[s.arm]
                rows.append([s.task, label, rate, *values, ends(found), str(s.num_seeds)])
    header = [
        'task', 'arm', 'threshold for', 'recall, %', 'false alarms on test images, %',
        'difference in recall', '95 % interval', 'seeds',
    ]  # fmt: skip
    return Table(header, rows, cards=True) if rows else None


def _spread(summary: ArmSummary) -> str:
    return f'{summary.mean:.1f}' + ('' if summary.sd is None else f' ± {summary.sd:.1f}')


def carry_over_table(analysis: Analysis) -> Table | None:
    """Downstream over classification gain; None without a classification stage."""
    rows = []
    for c in analysis.carry_over:
        correlation = NONE
        if c.correlation is not None:
            correlation = (
                f'{c.correlation:+.2f} ({c.correlation_low:+.2f} to {c.correlation_high:+.2f})'
            )
        rows.append(
            [
                c.task,
                analysis.labels[c.arm],
                NONE if c.unbounded else f'{c.ratio:.2f}',
                'unbounded' if c.unbounded else f'{c.low:.2f} to {c.high:.2f}',
                correlation,
                str(c.num_seeds),
            ]
        )
    header = [
        'task', 'arm', 'ratio', '95 % interval', 'correlation over seeds', 'seeds',
    ]  # fmt: skip
    return Table(header, rows, cards=True) if rows else None


def crossed_table(analysis: Analysis) -> Table | None:
    """Effects of pre-training and of fine-tuning with a key; None where the arms for it lack."""
    rows = [
        [
            c.task,
            analysis.labels[c.arm],
            c.effect,
            f'{c.mean:+.2f} {analysis.primary[c.task]}',
            NONE if c.low is None else f'{c.low:+.2f} to {c.high:+.2f}',
            NONE if c.p is None else f'{c.p:.2g}',
            str(c.num_seeds),
        ]
        for c in analysis.crossed
    ]
    header = ['task', 'key', 'effect', 'points', '95 % interval', 'p, not corrected', 'seeds']
    return Table(header, rows, text_columns=3, cards=True) if rows else None


def cost_table(results: StudyResults) -> Table | None:
    """What each arm costs in each task, medians over seeds; None without a run."""
    columns: dict[str, Callable[[RunResult], float]] = {
        'parameters, M': lambda run: run.parameters / 1e6,
        'operations, G': lambda run: run.flops / 1e9,
        'training step, ms': lambda run: run.step_seconds * 1e3,
        'training, min': lambda run: run.train_seconds / 60,
        'inference, ms': lambda run: run.inference_seconds * 1e3,
        'peak memory, GiB': lambda run: (run.peak_memory or 0) / 2**30,
        'iterations': lambda run: len(run.losses),
        'learning rate': lambda run: run.lr,
    }
    rows = []
    for task in results.info.tasks:
        for arm, about in results.info.arms.items():
            runs = results.of(task, arm).values()
            if runs:
                values = [median(map(read, runs)) for read in columns.values()]
                rows.append(
                    [task, about.label, *(f'{v:.3g}' if v < 1e3 else f'{v:,.0f}' for v in values)]
                )
    if not rows:
        return None
    header = ['task', 'arm', *columns]
    empty = [i for i in range(2, len(header)) if all(row[i] == '0' for row in rows)]
    kept = [i for i in range(len(header)) if i not in empty]  # not measured, e.g. on a CPU
    rows = [[row[i] for i in kept] for row in rows]
    return Table([header[i] for i in kept], rows, cards=True)


def efficiency_table(analysis: Analysis) -> Table | None:
    """Points for each 10 per cent of additional cost; None where no cost rises."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for e in analysis.efficiency:
        if e.gain_per_10 is not None:
            cells.setdefault((e.task, e.arm), {})[e.cost] = f'{e.gain_per_10:+.2f}'
    costs = [cost for cost in COST_NAMES if any(cost in found for found in cells.values())]
    rows = [
        [task, analysis.labels[arm], *(found.get(cost, NONE) for cost in costs)]
        for (task, arm), found in cells.items()
    ]
    header = ['task', 'arm', *(COST_NAMES[cost] for cost in costs)]
    return Table(header, rows, cards=True) if rows else None


def arms_table(info: StudyInfo) -> Table:
    """What each arm is."""
    rows = [
        [about.label, about.role, ', '.join(_settings(about.backbone)) or 'as the config has it']
        for about in info.arms.values()
    ]
    return Table(['arm', 'role', 'backbone'], rows, text_columns=3)


def _settings(content: dict, path: str = '') -> list[str]:
    found = []
    for key, value in content.items():
        if isinstance(value, dict):
            found += _settings(value, f'{path}{key}.')
        else:
            found.append(f'{path}{key} = {value}')
    return found


def tasks_table(info: StudyInfo) -> Table:
    """What each task is."""
    rows = []
    for key, about in info.tasks.items():
        images = ', '.join(f'{n:,} {split}' for split, n in about.num_images.items())
        settings = '; '.join(f'{name}: {value}' for name, value in about.settings.items())
        rows.append([key, about.kind, about.primary, str(len(about.classes)), images, settings])
    header = ['task', 'kind', 'decides', 'classes', 'images', 'settings']
    return Table(header, rows, text_columns=6, cards=True)
