"""``study plan --measure``: how many runs to do at the same time on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CommandError

if TYPE_CHECKING:
    from rich.console import Console

    from ..study.prepare.prepared import PreparedStudy

__all__ = ['measure_throughput']


def measure_throughput(
    args: argparse.Namespace, prepared: PreparedStudy, folder: Path, target: Path, console: Console
) -> None:
    """Measure how many runs to do at the same time here, print it, and keep it.

    Args:
        args (Namespace): Arguments of ``study plan``.
        prepared (PreparedStudy): The study.
        folder (Path): Empty folder to work in.
        target (Path): The study's folder.
        console (Console): Where to print.

    Raises:
        CommandError: There is no such task, the executor is another one, or nothing could be
            measured.
    """
    from ..hints import did_you_mean
    from ..study.run.executors.local import visible_gpus
    from ..study.run.throughput import measure, recommend, throughput_table, write_throughput

    tasks = prepared.study.tasks
    task = args.measure or next(iter(tasks))
    if task not in tasks:
        raise CommandError(
            f'--measure {task}: the study has no such task; choose from {", ".join(tasks)}'
            f'{did_you_mean(task, tasks)}'
        )
    if args.executor != 'local':
        raise CommandError(f'--measure measures this machine; leave out --executor {args.executor}')
    gpus = [] if args.device == 'cpu' else visible_gpus()
    with console.status('measuring') as line:
        found = list(measure(prepared, task, gpus, folder, line.update))
    console.print(throughput_table(found, task))
    if recommend(found) is None:
        raise CommandError(f'nothing could be measured: {found[0].error}')
    file = write_throughput(target, found, task, max(len(gpus), 1))
    console.print(f'throughput: {file}', soft_wrap=True)
