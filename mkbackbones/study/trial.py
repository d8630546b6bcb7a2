"""One trial: train one arm on one task, test it, and keep what a report needs."""

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from .cost import Cost, count_cost


@dataclass
class Trial:
    """What to run.

    Args:
        task (str): Name of the task, e.g. ``detection``.
        arm (str): Name of the arm, e.g. ``SpatialK``.
        cfg (Config): Complete config of mmdet, mmseg or mmengine with ``work_dir``.
        metric (str): Primary metric as the evaluator names it, e.g. ``coco/bbox_mAP``.
    """

    task: str
    arm: str
    cfg: Config
    metric: str


@dataclass
class TrialResult:
    """What came out.

    Attributes:
        trial (Trial): What was run.
        cost (Cost): Cost of the backbone at the size of the training images.
        untrained (dict[str, float]): Metrics of the initial weights on the test split.
        metrics (dict[str, float]): Metrics after training on the test split.
        losses (list[float]): Training loss of each iteration.
        step_seconds (float): Median time of an iteration, data loading included.
        train_seconds (float): Time of the training loop.
        samples (list): Predictions (mmdet or mmseg data samples) of the first test images.
    """

    trial: Trial
    cost: Cost
    untrained: dict[str, float]
    metrics: dict[str, float]
    losses: list[float]
    step_seconds: float
    train_seconds: float
    samples: list = field(default_factory=list)

    @property
    def score(self) -> float:
        """Primary metric after training."""
        return self.metrics[self.trial.metric]

    @property
    def untrained_score(self) -> float:
        """Primary metric of the initial weights."""
        return self.untrained[self.trial.metric]

    def loss_at(self, end: int) -> float:
        """Mean loss of the first (0) or last (-1) twentieth of the training."""
        window = max(len(self.losses) // 20, 1)
        part = self.losses[-window:] if end else self.losses[:window]
        return statistics.fmean(part)


class RecordHook(Hook):
    """Test the initial weights, then record the loss and time of each iteration.

    Args:
        on_step (Callable[[int], None]): Called after each iteration with its number, from 1.
    """

    priority = 'VERY_LOW'

    def __init__(self, on_step: Callable[[int], None]) -> None:
        self.on_step = on_step
        self.untrained: dict[str, float] = {}
        self.losses: list[float] = []
        self.seconds: list[float] = []

    def before_train(self, runner: Runner) -> None:
        # A test in between leaves the random numbers of the training as they are.
        with torch.random.fork_rng(devices=[]):
            self.untrained = as_floats(runner.test_loop.run())
        self.last = time.perf_counter()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        self.losses.append(float(outputs['loss']))  # waits for the device
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now
        self.on_step(len(self.losses))


def run_trial(
    trial: Trial, on_step: Callable[[int], None] = lambda step: None, num_samples: int = 0
) -> TrialResult:
    """Train, test and measure.

    Everything that the libraries print goes to ``console.log`` in the work dir.

    Args:
        trial (Trial): What to run.
        on_step (Callable[[int], None]): Called after each iteration with its number, from 1.
        num_samples (int): Test images to keep predictions of.

    Returns:
        TrialResult: What came out.
    """
    work_dir = Path(trial.cfg.work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    with (
        open(work_dir / 'console.log', 'w', encoding='utf-8') as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        runner = Runner.from_cfg(trial.cfg)
        hook = RecordHook(on_step)
        runner.register_hook(hook)
        start = time.perf_counter()
        runner.train()
        train_seconds = time.perf_counter() - start
        metrics = as_floats(runner.test())
        samples = predict(runner, num_samples)
        size = training_size(runner)
        cost = count_cost(unwrap(runner.model).backbone, size)
    step_seconds = statistics.median(hook.seconds)
    return TrialResult(
        trial, cost, hook.untrained, metrics, hook.losses, step_seconds, train_seconds, samples
    )


def predict(runner: Runner, num_samples: int) -> list:
    """Predictions of the first test images, with their ground truth, on the CPU."""
    dataset = runner.test_dataloader.dataset
    model = unwrap(runner.model).eval()
    samples = []
    for index in range(min(num_samples, len(dataset))):
        item = dataset[index]
        batch = {key: [value] for key, value in item.items()}
        with torch.no_grad():
            samples += [sample.cpu() for sample in model.test_step(batch)]
    return samples


def training_size(runner: Runner) -> tuple[int, int]:
    """Height and width of the first training image as the model sees it."""
    item = runner.train_dataloader.dataset[0]
    return tuple(item['inputs'].shape[-2:])


def unwrap(model: torch.nn.Module) -> torch.nn.Module:
    """The model inside a wrapper for distributed training."""
    return getattr(model, 'module', model)


def as_floats(metrics: dict) -> dict[str, float]:
    """Plain numbers."""
    return {name: float(value) for name, value in metrics.items()}
