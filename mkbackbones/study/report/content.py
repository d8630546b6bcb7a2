"""What a report says, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from ..results import RunResult, StudyResults
from ..statistics import Analysis, headline
from .blocks import (
    Block,
    Bullets,
    Code,
    Fold,
    Gallery,
    Heading,
    Notice,
    Picture,
    Report,
    Table,
    Text,
)
from .choice import RULE
from .curves import learning_curves
from .differences import MAX_CLASSES, class_bars, forest, seed_dots
from .examples import examples
from .scatter import carry_over_scatter, cost_scatter
from .style import Look, to_svg
from .tables import (
    arms_table,
    carry_over_table,
    cost_table,
    efficiency_table,
    metric_table,
    recall_table,
    tasks_table,
    verdict_table,
)
from .unfinished import OpenRun

__all__ = ['build_report']

PROGRESS_STATES = ('running', 'pending', 'missing')


def build_report(
    results: StudyResults,
    analysis: Analysis,
    open_runs: list[OpenRun],
    note: Callable[[str], None] = lambda text: None,
) -> Report:
    """Put a report together.

    Args:
        results (StudyResults): The study.
        analysis (Analysis): Its statistics.
        open_runs (list[OpenRun]): Runs without a result that counts.
        note (Callable): Told what is being done.
    """
    note('drawing')
    report = Report(f'Study {results.info.name}')
    report.blocks += _answer(results, analysis, open_runs)
    report.blocks += _plots(results, analysis)
    note('drawing example pictures')
    report.blocks += _examples(results)
    report.blocks += _costs(results, analysis)
    report.blocks += _failures(open_runs)
    report.blocks += _method(results, analysis)
    return report


def _answer(results: StudyResults, analysis: Analysis, open_runs: list[OpenRun]) -> list[Block]:
    """The answer, what limits it, and the verdicts."""
    info = results.info
    blocks: list[Block] = []
    if not results.runs:
        blocks.append(Text('No run is finished, so there is nothing to compare yet.', lead=True))
    else:
        one = 'One seed, so no verdict. ' if len(info.seeds) == 1 else ''
        blocks.append(Text(one + headline(analysis), lead=True))
    planned = len(info.tasks) * len(info.arms) * len(info.seeds)
    if len(results.runs) < planned:
        blocks.append(
            Notice(
                f'Unfinished: {len(results.runs)} of {planned} runs have a result. '
                f'{_counted(open_runs)} All below may still change.'
            )
        )
    stale = sum(run.state == 'stale' for run in open_runs)
    if stale:
        blocks.append(
            Notice(
                f'{stale} runs are stale: config, code or data have changed since they were '
                'trained. See "Failed and missing runs".'
            )
        )
    blocks.append(Text(f'The question: {info.question}'))
    if analysis.verdicts:
        blocks += [Heading('Verdicts'), verdict_table(analysis)]
        blocks.append(Fold('In words', [Bullets([_named(analysis, v) for v in analysis.verdicts])]))
    return blocks


def _named(analysis: Analysis, verdict: object) -> str:
    return f'{verdict.task}, {analysis.labels[verdict.arm]}. {verdict.sentence}'


def _counted(open_runs: list[OpenRun]) -> str:
    """How many runs are open and in which state."""
    tally = Counter(run.state for run in open_runs)
    return ', '.join(f'{count} {state}' for state, count in tally.items()).capitalize() + '.'


def _plots(results: StudyResults, analysis: Analysis) -> list[Block]:
    """Everything that is drawn from numbers."""
    info = results.info
    look = Look(analysis.labels)
    base = analysis.labels[analysis.baseline]
    tasks = [task for task in info.tasks if any(run.task == task for run in results.runs)]
    classification = next((t for t, a in info.tasks.items() if a.kind == 'classification'), None)

    def gallery(name: str, draw: Callable[[str], Figure | None], only: list[str]) -> list[Block]:
        pictures = []
        for task in only:
            figure = draw(task)
            if figure is not None:
                key = f'{name}-{task}'
                pictures.append(Picture(key, to_svg(figure, key), f'{name}, {task}'))
        return [Gallery(pictures)] if pictures else []

    blocks: list[Block] = []

    def section(title: str, text: str, *found: list[Block]) -> None:
        if any(found):
            blocks.extend([Heading(title), Text(text), *(b for group in found for b in group)])

    section(
        f'Difference to {base}',
        'Mean of the paired differences with its 95 % interval. Where it crosses the vertical '
        'line, there may be no difference at all. A hollow mark rests on one seed.',
        gallery('differences', lambda task: forest(analysis, look, task), tasks),
    )
    section(
        'Every run',
        'A mark is one run on the test split; grey lines join the runs of one seed; the bar is the '
        'mean, the number behind ± the standard deviation over seeds.',
        gallery('runs', lambda task: seed_dots(analysis, look, task), tasks),
        [Fold(f'All metrics of {task}', [metric_table(analysis, info, task)]) for task in tasks],
    )
    section(
        'Learning curves',
        'Mean over seeds; the band reaches from the lowest to the highest seed.',
        gallery('curves', lambda task: learning_curves(results, look, task), tasks),
    )
    section(
        'Gain against cost',
        f'Points above {base}, with the 95 % interval, over what the arm costs more than {base}.',
        gallery('costs', lambda task: cost_scatter(analysis, look, task), tasks),
        _folded('Points for each 10 % of additional cost', efficiency_table(analysis)),
    )
    if classification is not None:
        downstream = [t for t in tasks if info.tasks[t].kind != 'classification']
        section(
            'From classification to downstream tasks',
            f'Points above {base} in both. A small mark is a seed, a large one the mean with its '
            '95 % intervals. The ratio is the downstream gain for each point of classification.',
            gallery(
                'carry-over',
                lambda task: carry_over_scatter(analysis, look, task, classification),
                downstream,
            ),
            _tables(carry_over_table(analysis)),
        )
    large = [task for task in tasks if len(info.tasks[task].classes) > MAX_CLASSES]
    most = f' Of more classes, the {MAX_CLASSES} that differ most.' if large else ''
    section(
        'By class',
        f'Points above {base}; the thin line is one standard deviation over seeds to either side. '
        f'Single classes decide nothing: their differences are not tested.{most}',
        gallery('classes', lambda task: class_bars(analysis, info, look, task), tasks),
    )
    section(
        'Defective images found at 5 % false alarms',
        'Share of the images with a defect whose highest score lies above a threshold that at most '
        '5 % of the images without one exceed. ± is the standard deviation over seeds.',
        _tables(recall_table(analysis)),
    )
    return blocks


def _tables(table: Table | None) -> list[Block]:
    return [table] if table else []


def _folded(summary: str, table: Table | None) -> list[Block]:
    return [Fold(summary, [table])] if table else []


def _examples(results: StudyResults) -> list[Block]:
    found = [block for task in results.info.tasks for block in examples(results, task)]
    return [Heading('Where the arms differ most'), Text(RULE), *found] if found else []


def _costs(results: StudyResults, analysis: Analysis) -> list[Block]:
    table = cost_table(results)
    if table is None:
        return []
    text = (
        'Medians over seeds. Parameters and operations are those of the backbone, for one image at '
        'the size of training. A training step includes loading the data; inference is the model '
        'for one test image. Times compare only where the runs had the device to themselves.'
    )
    return [Heading('Costs'), Text(text), table]


def _failures(open_runs: list[OpenRun]) -> list[Block]:
    blocks: list[Block] = [Heading('Failed and missing runs')]
    if not open_runs:
        return [*blocks, Text('None: every planned run has a result.')]
    rows = [[run.run, run.state, run.reason] for run in open_runs]
    table = Table(['run', 'state', 'reason'], rows, text_columns=3, cards=True)
    return [*blocks, Text(_counted(open_runs)), Fold('Which ones', [table], open=len(rows) <= 10)]


def _method(results: StudyResults, analysis: Analysis) -> list[Block]:
    """How it was done, down to versions."""
    info = results.info
    facts = {
        'budget of a run': info.budget,
        'initial weights': info.initial_weights,
        'learning rates': info.learning_rates,
        'seeds': ', '.join(map(str, info.seeds)),
    }
    blocks: list[Block] = [Heading('How the arms were compared')]
    blocks += [Bullets([*info.fairness, *analysis.notes])]
    blocks += [Heading('What was run'), arms_table(info), tasks_table(info)]
    blocks.append(Bullets([f'{name}: {value}' for name, value in facts.items() if value]))
    blocks += [Heading('Versions'), _environment(results)]
    configs = [Fold('The study file', [Code(info.config)])] if info.config else []
    configs += [
        Fold(f'Complete config of {task}, {analysis.labels[arm]}, seed {run.seed}', [Code(text)])
        for task in info.tasks
        for arm in [analysis.baseline]
        for run in list(results.of(task, arm).values())[:1]
        if (text := _config(run, info.tasks[task].data_root))
    ]
    return blocks + ([Heading('Configuration'), *configs] if configs else [])


def _config(run: RunResult, data_root: str) -> str:
    """The config that a run was trained with, without the paths of its machine."""
    folder = Path(run.folder)
    path = folder / 'config.py'
    if not path.is_file():
        return ''
    text = path.read_text(encoding='utf-8')
    study = folder.parents[3].resolve()
    for place, name in ((data_root, '<data>/'), (f'{study}/', '<study>/')):
        text = text.replace(place, name) if place else text
    return text


def _environment(results: StudyResults) -> Table:
    """Versions, card, commit, data; all values where runs differ."""
    values: dict[str, Counter] = {}
    for run in results.runs:
        for name, value in run.environment.items():
            values.setdefault(name, Counter())[value] += 1
    for name, value in results.info.environment.items():
        values.setdefault(name, Counter({value: 0}))
    rows = []
    for name, found in values.items():
        if len(found) == 1:
            rows.append([name, next(iter(found))])
        else:
            rows.append([name, '; '.join(f'{v} ({n} runs)' for v, n in found.most_common())])
    return Table(['what', 'value'], rows, text_columns=2)
