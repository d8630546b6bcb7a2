"""A study in parts, for machines that share no disk."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .plan import Run
from .spec import Study, StudyError

__all__ = ['FIRST', 'parse_part', 'part_of']

#: The part with what all others need: timings, and the trials of learning rates.
FIRST = 'first'


def parse_part(text: str) -> tuple[int, int] | None:
    """``'2/4'`` as (2, 4); None for ``'first'``.

    Raises:
        StudyError: It is neither.
    """
    if text == FIRST:
        return None
    found = re.fullmatch(r'(\d{1,6})/(\d{1,6})', text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise StudyError(
            f"--part {text} is no part; give e.g. 2/4, the second of four, or '{FIRST}'"
        )
    return int(found[1]), int(found[2])


def part_of(study: Study, runs: Iterable[Run], text: str, done: Iterable[str]) -> set[str]:
    """Keys of the runs of one part.

    What stays together: a seed of a task, with all arms, so that each comparison is made on one
    machine, and with the tasks that start from its networks.

    Args:
        study (Study): The study.
        runs (Iterable[Run]): All its runs.
        text (str): ``'2/4'``, or ``'first'`` for timings, trials and what trials start from.
        done (Iterable[str]): Keys of the runs that are done.

    Raises:
        StudyError: It is no part, there are fewer shares than parts, or what all parts need is
            not done.
    """
    runs, part = list(runs), parse_part(text)
    by_key = {run.key: run for run in runs}
    first = [run for run in runs if run.stage != 'main']
    needed = {run.key for run in first} | {need for run in first for need in run.needs}
    if part is None:
        if not first:
            raise StudyError(
                f'--part {FIRST}: this study has neither trials nor timings; give e.g. --part 1/2'
            )
        return needed
    missing = [key for key in needed - set(done) if by_key[key].stage != 'main']
    if missing:
        raise StudyError(
            f'--part {text}: {len(missing)} trials and timings are not done, e.g. '
            f'{by_key[min(missing)]}, and every part needs all of them: run --part {FIRST} on one '
            'machine, `study pack` it, and `study merge` it into the folder of each part'
        )
    shares = shares_of(study)
    index, count = part
    if count > len(shares):
        raise StudyError(
            f'--part {text}: the study has {len(shares)} shares that stay together (a seed of a '
            f'task, with all arms and what starts from it), so at most {len(shares)} parts'
        )
    mine = {share for number, share in enumerate(shares) if number % count == index - 1}
    return {run.key for run in runs if run.stage == 'main' and share_of(study, run) in mine}


def share_of(study: Study, run: Run) -> tuple[int, str]:
    """The seed of a run and the task that its chain begins with."""
    return run.seed, study.tasks[run.task].source or run.task


def shares_of(study: Study) -> list[tuple[int, str]]:
    """All shares, in an order that deals each task to different parts from seed to seed."""
    roots = [key for key, task in study.tasks.items() if not task.source]
    found = []
    for number, seed in enumerate(study.seeds):
        found += [(seed, root) for root in (reversed(roots) if number % 2 else roots)]
    return found
