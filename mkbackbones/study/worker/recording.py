"""What a training leaves: losses, validation scores, the best weights, and where to go on."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...files import sync
from ..records.progress import Heartbeat
from ..records.run_folder import BEST, LATEST

__all__ = ['Record', 'RecordHook']

#: Entry of a checkpoint with the record.
ENTRY = 'mkbackbones_study'
#: Least seconds between checkpoints for going on: what a kill costs at most, beside the new start.
CHECKPOINT_SECONDS = 15.0
#: Where a checkpoint takes long, they are so many times as far apart: 3 per cent of the time.
CHECKPOINT_SHARE = 30


class Diverged(ArithmeticError):
    """The loss is not a number any more."""


@dataclass
class Record:
    """Course of a training, kept in its checkpoints so that a resumed run has all of it.

    Args:
        losses (list[float]): Loss of each iteration.
        seconds (list[float]): Time of each iteration, data loading included.
        val_curve (list[list[float]]): ``[iteration, primary metric in per cent]``.
        best_iteration (int): Iteration of the best validation score, 0 before the first.
        peak_memory (int): Peak of the device's memory in bytes, 0 on a CPU.
    """

    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    val_curve: list[list[float]] = field(default_factory=list)
    best_iteration: int = 0
    peak_memory: int = 0

    @property
    def best_score(self) -> float:
        """Best validation score so far."""
        return max((score for _, score in self.val_curve), default=-math.inf)


class RecordHook(Hook):
    """Record a training and save it so that it can go on from its last checkpoint.

    ``best.pth`` has the weights that validation picked, ``latest.pth`` all that resuming takes.
    Both are written aside and renamed: a process killed while it writes leaves the former one.

    Args:
        folder (Path): Where to write.
        metric (str): Primary metric, as the evaluator names it.
        factor (float): Factor of the metric to per cent.
        interval (int): Iterations between checkpoints; there are more, :data:`CHECKPOINT_SECONDS`
            apart, or as far as keeps their share of the time small.
        heartbeat (Heartbeat): Told about the progress.
    """

    # After the schedules have stepped and the generators are back with the data.
    priority = 'VERY_LOW'

    def __init__(
        self, folder: Path, metric: str, factor: float, interval: int, heartbeat: Heartbeat
    ) -> None:
        self.folder = folder
        self.metric = metric
        self.factor = factor
        self.interval = interval
        self.heartbeat = heartbeat
        self.record = Record()
        self.pause = CHECKPOINT_SECONDS

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if ENTRY in checkpoint:
            self.record = Record(**checkpoint[ENTRY])

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint[ENTRY] = asdict(self.record)

    def before_train(self, runner: Runner) -> None:
        self.heartbeat.update(phase='training', iter=runner.iter, max_iters=runner.max_iters)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.last = self.saved = time.perf_counter()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        record = self.record
        loss = float((outputs or {})['loss'])  # waits for the device
        now = time.perf_counter()
        record.losses.append(loss)
        record.seconds.append(now - self.last)
        if torch.cuda.is_available():
            record.peak_memory = max(record.peak_memory, torch.cuda.max_memory_allocated())
        done = runner.iter + 1
        recent = sorted(record.seconds[-20:])
        self.heartbeat.update(
            iter=done,
            loss=loss,
            step_seconds=recent[len(recent) // 2],
            memory=record.peak_memory or None,
        )
        if not math.isfinite(loss):
            raise Diverged(
                f'the loss is {loss} at iteration {done}; a lower learning rate may help'
            )
        loop = runner.train_loop
        validates = done % loop.val_interval == 0 or done == runner.max_iters
        due = done % self.interval == 0 or now - self.saved > self.pause
        if due and not (validates and runner.val_loop is not None):
            self.save(runner, LATEST, done)
        self.last = time.perf_counter()

    def before_val(self, runner: Runner) -> None:
        self.heartbeat.update(phase='validating')

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        record, done = self.record, runner.iter
        score = self.score(metrics or {})
        if score > record.best_score or not record.best_iteration:
            record.best_iteration = done
            self.save(runner, BEST, done)
        record.val_curve.append([done, score])
        self.save(runner, LATEST, done)
        self.heartbeat.update(phase='training', score=record.best_score)

    def after_val(self, runner: Runner) -> None:
        self.last = time.perf_counter()

    def score(self, metrics: dict[str, float]) -> float:
        """Primary metric in per cent; the lowest where a detector found nothing at all.

        Raises:
            KeyError: The evaluator computes other metrics.
        """
        if not metrics:  # CocoMetric without a single detection
            return 0.0
        if self.metric not in metrics:
            raise KeyError(
                f'the validation gives no {self.metric}, only {", ".join(sorted(metrics))}'
            )
        score = self.factor * float(metrics[self.metric])
        return score if math.isfinite(score) else 0.0

    def save(self, runner: Runner, name: str, done: int) -> None:
        """Write a checkpoint whole or not at all."""
        work = f'.{name}.partial'
        start = time.perf_counter()
        try:
            runner.save_checkpoint(
                str(self.folder),
                work,
                save_optimizer=name == LATEST,
                save_param_scheduler=name == LATEST,
                meta=dict(epoch=runner.epoch, iter=done),
                by_epoch=False,
            )
            sync(self.folder / work)
            os.replace(self.folder / work, self.folder / name)
            sync(self.folder)
        finally:
            (self.folder / work).unlink(missing_ok=True)
        self.saved = time.perf_counter()
        self.pause = max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * (self.saved - start))
