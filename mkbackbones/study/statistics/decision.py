"""Whether the seeds of a planned look decide a study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..records.results import StudyResults, load_results
from .analyse import analyse_tasks
from .left_out import load_jackknife
from .verdicts import DECIDED, hopeless_margin

__all__ = ['Decision', 'at_look', 'decided']


@dataclass
class Decision:
    """What a look says of going on.

    Args:
        stop (bool): Whether more seeds have nothing left to decide.
        sentence (str): Why, or what is open.
    """

    stop: bool
    sentence: str


def decided(folder: str | Path, num_seeds: int) -> Decision:
    """Look at the first seeds of a study.

    It is decided where every arm is better or worse than the baseline in every task, or equivalent
    within the margin that was named beforehand; and where the test images alone leave so much doubt
    that no number of seeds would show the rest equivalent.

    Args:
        folder (str | Path): The study's folder.
        num_seeds (int): Seeds of the look.

    Raises:
        FileNotFoundError: There is no study in the folder.
        ValueError: The results contradict themselves.
    """
    results = at_look(load_results(folder), num_seeds)
    info = results.info
    analysis, primary = analyse_tasks(
        results, {task: load_jackknife(results, task) for task in info.tasks}
    )
    open_ones, hopeless = [], []
    for verdict in analysis.verdicts:
        if verdict.kind in DECIDED:
            continue
        name = f'{verdict.task}, {info.arms[verdict.arm].label}'
        margin = info.plan.margin_beforehand(verdict.task) if info.plan else None
        comparison = primary.get((verdict.task, verdict.arm, info.baseline))
        why = hopeless_margin(comparison, margin, info.looks)
        if why:
            hopeless.append(f'{name}: {why}')
        else:
            open_ones.append(f'{name}: {verdict.kind}')
    if open_ones:
        return Decision(False, f'after {num_seeds} seeds, open: {"; ".join(open_ones + hopeless)}')
    if hopeless:
        return Decision(True, f'after {num_seeds} seeds, more cannot decide: {"; ".join(hopeless)}')
    return Decision(True, f'after {num_seeds} seeds, every comparison is decided')


def at_look(results: StudyResults, num_seeds: int) -> StudyResults:
    """A study as if its first seeds were all."""
    seeds = results.info.seeds[:num_seeds]
    runs = [run for run in results.runs if run.seed in seeds]
    return replace(results, info=replace(results.info, seeds=seeds), runs=runs)
