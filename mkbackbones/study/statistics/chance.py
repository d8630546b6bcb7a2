"""Whether a run has learned anything: a loss that went down, a metric above chance."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from ..evidence import SegmentationEvidence, load_evidence
from ..records.results import RunResult, StudyInfo, StudyResults

__all__ = ['CLASS_METRICS', 'background_miou', 'chance', 'complaints', 'loss_at', 'unlearnt_seeds']

#: What a class is measured by, by kind of task.
CLASS_METRICS = {'detection': 'AP', 'instance-segmentation': 'AP', 'segmentation': 'IoU'}
#: Points of a class that is found, and of accuracy above chance (our definition).
FOUND = 1.0


def complaints(results: StudyResults) -> list[str]:
    """One sentence for each finished run that has learned nothing.

    Args:
        results (StudyResults): A study.
    """
    found = []
    for run in results.runs:
        name = f'{run.task}, {run.arm}, seed {run.seed}'
        start, end = loss_at(run, 0), loss_at(run, -1)
        if not end < 0.8 * start:
            found.append(f'{name}: the loss went from {start:.3g} to {end:.3g}')
        metric = results.info.tasks[run.task].primary
        score, floor = run.metrics.get(metric, 0.0), chance(results.info, run)
        if not score > floor:
            found.append(f'{name}: {metric} {score:.3g} is not above chance, {floor:.3g}')
    return found


def loss_at(run: RunResult, end: int) -> float:
    """Mean loss of the first (0) or last (-1) twentieth of a training."""
    window = max(len(run.losses) // 20, 1)
    return statistics.fmean(run.losses[-window:] if end else run.losses[:window])


def chance(info: StudyInfo, run: RunResult) -> float:
    """Score, in per cent, of a model that has learned nothing.

    Guessing for classes, answering class 0 everywhere for class maps, 0 for boxes and masks.
    """
    task = info.tasks[run.task]
    if task.kind == 'classification':
        return 100.0 / len(task.classes)
    if task.kind == 'segmentation':
        evidence: Any = load_evidence(Path(run.folder) / 'evidence.npz')  # of this kind
        return background_miou(evidence)
    return 0.0


def background_miou(evidence: SegmentationEvidence) -> float:
    """mIoU, in per cent, of answering class 0 everywhere: over the classes that occur."""
    pixels = evidence.confusion.sum((0, 2))
    return float(100 * pixels[0] / pixels.sum() / np.count_nonzero(pixels))


def unlearnt_seeds(results: StudyResults, task: str) -> list[int]:
    """Seeds in which the baseline has learned nothing: what other arms gain there is chance.

    No class is found, but for one in segmentation: a model that answers background everywhere has
    the IoU of the background and of nothing else. In classification, accuracy is at chance.

    Args:
        results (StudyResults): A study.
        task (str): Key of the task; without metrics by class it has no such seeds.
    """
    runs = results.of(task, results.info.baseline)
    return [seed for seed, run in runs.items() if not _learnt(results.info, run)]


def _learnt(info: StudyInfo, run: RunResult) -> bool:
    """Whether a run is above what can be had for nothing, by its metrics alone."""
    task = info.tasks[run.task]
    if len(task.classes) < 2:
        return True
    if task.kind == 'classification':
        return run.metrics.get(task.primary, 0.0) > chance(info, run) + FOUND
    found = [run.metrics.get(f'{CLASS_METRICS[task.kind]}/{label}') for label in task.classes]
    known = [points for points in found if points is not None]
    if len(known) < 2:
        return True
    return sum(points >= FOUND for points in known) > (task.kind == 'segmentation')
