"""What a report says, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import matplotlib

from ..records.results import RunResult, StudyResults
from ..statistics import Analysis, Verdict, headline
from ..statistics.sequential import added_seeds
from .applied import applied, idle
from .blocks import (
    Block,
    Bullets,
    Code,
    Fold,
    Heading,
    Notice,
    Report,
    Table,
    Text,
)
from .choice import RULE
from .examples import examples as task_examples
from .limits import limits
from .plots import plots
from .tables import arms_table, cost_table, tasks_table, verdict_table
from .unfinished import OpenRun

__all__ = ['build_report']


def build_report(
    results: StudyResults,
    analysis: Analysis,
    open_runs: list[OpenRun],
    note: Callable[[str], None] = lambda text: None,
    examples: bool = True,
) -> Report:
    """Put a report together.

    Args:
        results (StudyResults): The study.
        analysis (Analysis): Its statistics.
        open_runs (list[OpenRun]): Runs without a result that counts.
        note (Callable): Told what is being done.
        examples (bool): Whether to show images of the test split.
    """
    # A label is text, whatever it holds: `$` starts no formula.
    with matplotlib.rc_context({'text.parse_math': False}):
        return _build(results, analysis, open_runs, note, examples)


def _build(
    results: StudyResults,
    analysis: Analysis,
    open_runs: list[OpenRun],
    note: Callable[[str], None],
    examples: bool,
) -> Report:
    note('drawing')
    report = Report(f'Study {results.info.name}')
    report.blocks += _answer(results, analysis, open_runs)
    report.blocks += applied(results)
    report.blocks += plots(results, analysis)
    if examples:
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
        lead = ' '.join([one + headline(analysis), *idle(results)])
        blocks.append(Text(lead, lead=True))
        blocks += [Notice(sentence) for sentence in limits(results, analysis)]
    planned = info.num_runs
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
        if any(verdict.seeds_needed for verdict in analysis.verdicts) and not info.looks:
            blocks.append(
                Text(
                    'Seeds needed are for the observed difference, were it the true one, with the '
                    f'variances that few seeds tell. {added_seeds()}'
                )
            )
        blocks.append(Fold('In words', [Bullets([_named(analysis, v) for v in analysis.verdicts])]))
    return blocks


def _named(analysis: Analysis, verdict: Verdict) -> str:
    return f'{verdict.task}, {analysis.labels[verdict.arm]}. {verdict.sentence}'


def _counted(open_runs: list[OpenRun]) -> str:
    """How many runs are open and in which state."""
    tally = Counter(run.state for run in open_runs)
    return ', '.join(f'{count} {state}' for state, count in tally.items()).capitalize() + '.'


def _examples(results: StudyResults) -> list[Block]:
    found = [block for task in results.info.tasks for block in task_examples(results, task)]
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
        'decided before the first run': info.plan.in_words() if info.plan else '',
        'hash of the plan': info.plan.digest if info.plan else '',
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
