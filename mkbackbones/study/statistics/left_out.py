"""The evidence of a study in kilobytes a run: what the intervals follow from, and nothing else.

A folder that ``study report`` and :func:`analyse` take like the study's own::

    study.json, runs/<task>/<arm>/seed<k>/result.json   as in the study, without paths
    runs/<task>/groups.npz                               how the test images are grouped
    runs/<task>/<arm>/seed<k>/left_out.npz               metrics with each group left out
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ...files import written_aside
from ..evidence.base import check_unpacked_size
from ..results import StudyResults
from ..run_folder import EVIDENCE, write_json
from .jackknife import ImageGroups, TaskJackknife, load_task_evidence

__all__ = ['export_evidence', 'load_jackknife']

GROUPS, LEFT_OUT = 'groups.npz', 'left_out.npz'


def load_jackknife(results: StudyResults, task: str) -> TaskJackknife | None:
    """What the runs of a task left, from their evidence or from an export of it.

    Args:
        results (StudyResults): The study.
        task (str): Key of the task.

    Returns:
        TaskJackknife | None: None where a run left neither, or there are no runs.

    Raises:
        ValueError: A file is damaged, or runs were tested on different images.
    """
    runs = [run for run in results.runs if run.task == task]
    if not runs or not all(run.folder for run in runs):
        return None
    folders = {(run.arm, run.seed): Path(run.folder) for run in runs}
    if all((folder / LEFT_OUT).is_file() for folder in folders.values()):
        return read_left_out(folders)
    evidence = load_task_evidence(runs)
    return TaskJackknife.of(evidence, results.info.tasks[task].classes) if evidence else None


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
    out.parent.mkdir(parents=True, exist_ok=True)
    work = out.with_name(f'.{out.name}.{uuid.uuid4().hex[:8]}.partial')
    try:
        work.mkdir()
        tasks = {key: replace(task, data_root='') for key, task in results.info.tasks.items()}
        write_json(work / 'study.json', asdict(replace(results.info, tasks=tasks)))
        for task in results.info.tasks:
            note(f'exporting {task}')
            jackknife = load_jackknife(results, task)
            if jackknife is not None:
                write_task(results, task, jackknife, work / 'runs' / task)
        size = sum(path.stat().st_size for path in work.rglob('*') if path.is_file())
        if out.exists():
            out.rmdir()
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return size


def write_task(results: StudyResults, task: str, jackknife: TaskJackknife, folder: Path) -> None:
    """Write one task: how images are grouped, and each run."""
    folder.mkdir(parents=True)
    names = list(jackknife.groups)
    groups = jackknife.groups.values()
    save(
        folder / GROUPS,
        metrics=np.array(names),
        scale=np.stack([found.scale for found in groups]),
        effective=np.array([found.effective for found in groups]),
        df=np.array([found.df for found in groups]),
        num_groups=np.array(jackknife.num_groups),
        good_images=np.array(jackknife.good_images),
    )
    for run in results.runs:
        if run.task != task:
            continue
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


def save(path: Path, **content: np.ndarray) -> None:
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


def read_left_out(folders: dict[tuple[str, int], Path]) -> TaskJackknife:
    """Read the runs of one task."""
    groups = read(next(iter(folders.values())).parents[1] / GROUPS)
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
