"""Whether a run has learned anything: a loss that went down, a metric above chance."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from ..evidence import SegmentationEvidence, load_evidence
from ..records.results import RunResult, StudyInfo, StudyResults

__all__ = ['background_miou', 'chance', 'complaints', 'loss_at']


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
