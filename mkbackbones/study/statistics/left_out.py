"""The evidence of a study in kilobytes a run: what the intervals follow from, and nothing else.

A folder that ``study report`` and :func:`analyse` take like the study's own::

    study.json, runs/<task>/<arm>/seed<k>/result.json   as in the study, without paths
    runs/<task>/groups.npz                               how the test images are grouped;
                                                         of a fold, groups-<fold>.npz
    runs/<task>/<arm>/seed<k>/left_out.npz               metrics with each group left out
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...files import atomic_output, written_aside
from ..evidence import Evidence
from ..evidence.base import check_unpacked_size
from ..records.results import RunResult, StudyInfo, StudyResults
from ..records.run_folder import EVIDENCE, write_json
from .compare import AnyJackknife
from .folded import FoldedJackknife
from .jackknife import ImageGroups, TaskJackknife, load_task_evidence

__all__ = ['AnyJackknife', 'export_evidence', 'jackknife_of', 'load_jackknife']

GROUPS, LEFT_OUT = 'groups.npz', 'left_out.npz'


def load_jackknife(results: StudyResults, task: str) -> AnyJackknife | None:
    """What the runs of a task left, from their evidence or from an export of it.

    Args:
        results (StudyResults): The study.
        task (str): Key of the task.

    Returns:
        AnyJackknife | None: None where a run left neither, or there are no runs.

    Raises:
        ValueError: A file is damaged, or runs were tested on different images.
    """
    runs = [run for run in results.runs if run.task == task]
    if not runs or not all(run.folder for run in runs):
        return None
    folders = {(run.arm, run.seed): Path(run.folder) for run in runs}
    if all((folder / LEFT_OUT).is_file() for folder in folders.values()):
        if not results.info.tasks[task].folds:
            return read_left_out(folders, GROUPS)
        by_fold: dict[int, dict[tuple[str, int], Path]] = defaultdict(dict)
        for (arm, seed), folder in folders.items():
            by_fold[results.info.fold_of(task, seed)][arm, seed] = folder
        return FoldedJackknife(
            {fold: read_left_out(mine, of_fold(fold)) for fold, mine in by_fold.items()}
        )
    evidence = load_task_evidence(runs)
    return jackknife_of(results.info, task, evidence) if evidence else None


def jackknife_of(
    info: StudyInfo, task: str, evidence: dict[tuple[str, int], Evidence]
) -> AnyJackknife:
    """Leave out groups of the test images of a task, on one split or on folds.

    Args:
        info (StudyInfo): The study.
        task (str): Key of the task.
        evidence (dict[tuple[str, int], Evidence]): By arm and seed, at least one.

    Raises:
        ValueError: Runs were not tested on the same images, or folds share some.
    """
    about = info.tasks[task]
    if about.folds:
        return FoldedJackknife.of(evidence, about.classes, lambda seed: info.fold_of(task, seed))
    return TaskJackknife.of(evidence, about.classes)


def of_fold(fold: int) -> str:
    """Name of the file that tells how the test images of a fold are grouped."""
    return f'groups-{fold}.npz'


def export_evidence(
    results: StudyResults, out: Path, note: Callable[[str], None] = lambda text: None
) -> int:
    """Write the evidence of a study into a new folder.

    Args:
        results (StudyResults): The study.
        out (Path): The folder, which may not exist or has to be empty.
        note (Callable): Told what is being done, for a status line.

    Returns:
        int: Bytes written.

    Raises:
        ValueError: The folder has files in it, the study has no finished run, or a run left no
            evidence.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f'{out} is not an empty folder; name another one for the evidence')
    if not results.runs:
        raise ValueError('no run of the study is finished, so there is no evidence to export')
    for run in results.runs:
        kept = [name for name in (EVIDENCE, LEFT_OUT) if (Path(run.folder) / name).is_file()]
        if not kept:
            raise ValueError(
                f'{run.task}, {run.arm}, seed {run.seed} left no {EVIDENCE}; run it again'
            )
    with atomic_output(out) as work:
        tasks = {key: replace(task, data_root='') for key, task in results.info.tasks.items()}
        write_json(work / 'study.json', asdict(replace(results.info, tasks=tasks)))
        for task in results.info.tasks:
            note(f'exporting {task}')
            jackknife = load_jackknife(results, task)
            runs = [run for run in results.runs if run.task == task]
            if isinstance(jackknife, FoldedJackknife):
                for fold, found in jackknife.folds.items():
                    mine = [run for run in runs if results.info.fold_of(task, run.seed) == fold]
                    write_task(mine, found, work / 'runs' / task, of_fold(fold))
            elif jackknife is not None:
                write_task(runs, jackknife, work / 'runs' / task, GROUPS)
        size = sum(path.stat().st_size for path in work.rglob('*') if path.is_file())
    return size


def write_task(runs: list[RunResult], jackknife: TaskJackknife, folder: Path, name: str) -> None:
    """Write one task, or a fold of it: how images are grouped, and each run."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(jackknife.groups)
    groups = jackknife.groups.values()
    save(
        folder / name,
        metrics=np.array(names),
        scale=np.stack([found.scale for found in groups]),
        effective=np.array([found.effective for found in groups]),
        df=np.array([found.df for found in groups]),
        num_groups=np.array(jackknife.num_groups),
        good_images=np.array(jackknife.good_images),
    )
    for run in runs:
        place = folder / run.arm / f'seed{run.seed}'
        place.mkdir(parents=True)
        losses = [float(f'{loss:.4g}') for loss in run.losses]  # for the curves alone
        replace(run, losses=losses).save(place / 'result.json')
        full = jackknife.full[run.arm, run.seed]
        without = jackknife.without[run.arm, run.seed]
        found = [name for name in full if name in without]
        save(
            place / LEFT_OUT,
            metrics=np.array(found),
            full=np.array([full[name] for name in found]),
            without=np.stack([without[name] for name in found]),
        )


def save(path: Path, **content: Any) -> None:
    """Write an archive whole or not at all."""
    with written_aside(path) as work, work.open('wb') as file:
        np.savez_compressed(file, **content)


def read(path: Path) -> dict[str, np.ndarray]:
    """Read what :func:`save` wrote.

    Raises:
        ValueError: It is missing or damaged.
    """
    try:
        check_unpacked_size(path)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # a damaged archive raises any of a dozen types
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(f'{path} cannot be read ({reason}); export the evidence again') from error


def read_left_out(folders: dict[tuple[str, int], Path], name: str) -> TaskJackknife:
    """Read the runs of one task, or of a fold of it."""
    groups = read(next(iter(folders.values())).parents[1] / name)
    runs = {key: read(folder / LEFT_OUT) for key, folder in folders.items()}
    try:
        return TaskJackknife(
            num_groups=int(groups['num_groups']),
            good_images=int(groups['good_images']),
            groups={
                str(name): ImageGroups(scale, float(effective), float(df))
                for name, scale, effective, df in zip(
                    groups['metrics'], groups['scale'], groups['effective'], groups['df']
                )
            },
            full={
                key: dict(zip(map(str, run['metrics']), map(float, run['full'])))
                for key, run in runs.items()
            },
            without={
                key: dict(zip(map(str, run['metrics']), run['without']))
                for key, run in runs.items()
            },
        )
    except (KeyError, TypeError) as error:
        folder = next(iter(folders.values()))
        raise ValueError(
            f'{folder.parents[1]} holds evidence of another version (no {error}); export it again'
        ) from error
