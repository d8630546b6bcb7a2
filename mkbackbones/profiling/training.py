"""Train throughput of whole models, data loading included, and the backbone's share of it."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..files import written_aside
from .build import backbone_cfg, import_library
from .floor import synchronize
from .measure import Case, allocated, free, peak_mib, record_passes
from .render import number, spread, table
from .results import median
from .run import attempt
from .spec import Precision, Spec

if TYPE_CHECKING:
    from mmengine.config import Config, ConfigDict
    from mmengine.optim import OptimWrapper
    from rich.progress import Progress

NUM_IMAGES, IMAGE_SIDE = 4, 1024
#: Options of backbones that no training of a whole model knows.
OF_BACKBONES_ALONE = ('fold', 'compile', 'loop')
#: Optimiser wrappers with mixed precision; others train in float32.
PRECISIONS: dict[str, Precision] = {
    'mkbackbones.BFloat16OptimWrapper': 'bf16',
    'AmpOptimWrapper': 'fp16',
}
HEADER: tuple[str, ...] = ('config', 'backbone', 'size', 'images/s', 'step ms')
HEADER += ('waits for data', 'backbone ms', 'share', 'MiB', 'note')


@dataclass
class TrainRow:
    """A model with one backbone; what was not measured is None or empty.

    Attributes:
        config (str): Name of the config.
        backbone (str): Name of the backbone.
        size (str): Images x height x width.
        images_per_s (list[float]): Throughput, one for each round.
        step_ms (list[float]): Time of an iteration.
        wait_ms (list[float]): What of it the data loader was waited for.
        backbone_ms (float): Train step of the backbone alone on such a batch.
        peak_mib (float): Peak memory, weights and gradients included, AdamW's moments as well.
        note (str): Why something was not measured.
    """

    config: str
    backbone: str
    size: str
    images_per_s: list[float] = field(default_factory=list)
    step_ms: list[float] = field(default_factory=list)
    wait_ms: list[float] = field(default_factory=list)
    backbone_ms: float | None = None
    peak_mib: float | None = None
    note: str = ''

    def cells(self) -> tuple[str, ...]:
        """The row of a Markdown table."""
        step, wait = median(self.step_ms), median(self.wait_ms)
        waits = 100 * wait / step if step and wait is not None else None
        share = 100 * self.backbone_ms / step if step and self.backbone_ms else None
        return (
            self.config,
            self.backbone,
            self.size,
            spread(self.images_per_s),
            spread(self.step_ms),
            number(waits, '.0f') + ' %',
            number(self.backbone_ms, '.1f'),
            number(share, '.0f') + ' %',
            number(self.peak_mib, '.0f'),
            self.note.replace('|', '/'),
        )


def make_images(root: Path) -> None:
    """Generate the synthetic images on disk, unless they are there."""
    from ..datasets import SyntheticDefects
    from ..datasets.writer import write_dataset

    if not (root / 'synthetic').exists():
        write_dataset(SyntheticDefects(dict(train=NUM_IMAGES), IMAGE_SIDE), root / 'synthetic')
    os.environ['MKBACKBONES_DATA'] = str(root.resolve())


def at_size(cfg: Config, size: tuple[int, int, int]) -> None:
    """Let the training images of ``cfg`` have one size, and its batches as many images.

    Args:
        cfg (Config): Config of a model on the synthetic set; changed in place.
        size (tuple[int, int, int]): Images, height, width.
    """
    batch, height, width = size
    cfg.train_dataloader.batch_size = batch
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type in ('Resize', 'RandomResize'):
            step.update(type='Resize', scale=(width, height), keep_ratio=False)
            step.pop('ratio_range', None)
        elif step.type == 'RandomCrop':
            step.crop_size = (height, width)
        elif step.type == 'RandomFlip':
            # A diagonal flip would turn the batch's images into two shapes.
            step.update(prob=0.5, direction='horizontal')


def with_backbone(cfg: Config, spec: Spec) -> ConfigDict:
    """The model config with another backbone, which keeps ``out_indices``."""
    model = copy.deepcopy(cfg.model)
    kept = {name: model.backbone[name] for name in ('out_indices',) if name in model.backbone}
    model.backbone = dict(backbone_cfg(spec), **kept)
    return model


class Trainee:
    """A model that is trained on a loader's batches.

    Args:
        model_cfg (ConfigDict): The model.
        cfg (Config): What its optimiser is.
        device (torch.device): Where to train.
    """

    def __init__(self, model_cfg: ConfigDict, cfg: Config, device: torch.device) -> None:
        from mmengine.optim import build_optim_wrapper
        from mmengine.registry import MODELS

        self.device = device
        self.resident = allocated(device)
        self.model: Any = MODELS.build(model_cfg).to(device).train()
        self.optim_wrapper: OptimWrapper = build_optim_wrapper(self.model, cfg.optim_wrapper)
        self.precision = PRECISIONS.get(cfg.optim_wrapper.type, 'fp32')

    def step(self, batch: Any) -> None:
        """One iteration on a batch."""
        self.model.train_step(batch, optim_wrapper=self.optim_wrapper)

    def peak_mib(self, batch: Any) -> float | None:
        """Peak memory of an iteration, after one that made the optimiser's state."""
        self.step(batch)
        return peak_mib(self.device, self.resident, partial(self.step, batch))

    def run(self, batches: Iterator, warm_up: int, iterations: int) -> tuple[float, float]:
        """Train; returns seconds an iteration, and what of them was waiting for data."""
        for _ in range(warm_up):
            self.step(next(batches))
        synchronize(self.device)
        start, waited = time.perf_counter(), 0.0
        for _ in range(iterations):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            self.step(batch)
        synchronize(self.device)
        return (time.perf_counter() - start) / iterations, waited / iterations

    def backbone_ms(self, batch: Any) -> float:
        """Train step of the backbone alone, in milliseconds; it leaves no gradients."""
        images = self.model.data_preprocessor(batch, True)['inputs']
        case = Case(
            self.model.backbone, 'no', False, 'ours', images, self.precision, False, self.resident
        )
        case.prepare('train')
        samples = [case.sample('train') for _ in range(5)]
        self.model.train()
        return statistics.median(samples)


def train_with(spec: Spec, cfg: Config, device: torch.device) -> Trainee:
    """A config's model on one of the backbones.

    Raises:
        ValueError: The backbone's name has an option that is of no use here, or does not go with
            its library.
    """
    for option in OF_BACKBONES_ALONE:
        if spec.get(option, '') != '':
            raise ValueError(
                f'{option}={spec.get(option)} is for profile-backbone; here a model trains as its '
                'config says'
            )
    trainee = Trainee(with_backbone(cfg, spec), cfg, device)
    if spec.get('recorded') == 'yes':
        record_passes(trainee.model.backbone)
    return trainee


def profile_config(
    name: str,
    cfg: Config,
    specs: list[Spec],
    size: tuple[int, int, int],
    rounds: int,
    iterations: int,
    device: torch.device,
    rows: list[TrainRow],
    save: Callable[[], None],
    progress: Progress,
) -> None:
    """Train one model with each backbone in turn, on batches of one loader.

    Args:
        name (str): What the config is called in the rows.
        cfg (Config): Config of a detector or segmentor on the synthetic set.
        specs (list[Spec]): Backbones.
        size (tuple[int, int, int]): Images, height, width.
        rounds (int): How often each one's turn comes.
        iterations (int): Measured iterations of a turn; what the loader's workers had prepared
            before is used up first.
        device (torch.device): Where to train.
        rows (list[TrainRow]): Where what is measured goes.
        save (Callable): Called after each set-up and each turn.
        progress (Progress): Where progress is shown.
    """
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner

    init_default_scope(cfg.default_scope)
    import_library(cfg.default_scope)
    at_size(cfg, size)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    batches = iter(loader)
    batch = next(batches)
    warm_up = max(3, loader.num_workers * (loader.prefetch_factor or 0))
    trainees = []
    task = progress.add_task(name, total=(rounds + 1) * len(specs))
    for spec in specs:
        row = TrainRow(name, str(spec), 'x'.join(map(str, size)))
        rows.append(row)
        trainee = attempt(row, '', partial(train_with, spec, cfg, device))
        if trainee is not None:
            row.peak_mib = attempt(row, 'memory', partial(trainee.peak_mib, batch))
            row.backbone_ms = attempt(row, 'backbone', partial(trainee.backbone_ms, batch))
            trainees.append((row, trainee))
        save()
        progress.update(task, advance=1, refresh=True)
    for _ in range(rounds):
        for row, trainee in trainees:
            result = attempt(row, 'train', partial(trainee.run, batches, warm_up, iterations))
            if result is None:
                free(device)
            else:
                seconds, waited = result
                row.images_per_s.append(size[0] / seconds)
                row.step_ms.append(1e3 * seconds)
                row.wait_ms.append(1e3 * waited)
            save()
            progress.update(task, advance=1, refresh=True)
    progress.update(task, completed=(rounds + 1) * len(specs), refresh=True)


def training_markdown(environment: dict, rows: list[TrainRow]) -> str:
    """The report."""
    versions = ', '.join(f'{name} {version}' for name, version in environment['versions'].items())
    lines = ['# Training whole models', '']
    lines += [f'{environment["device"]}, {environment["date"]}, {versions}. Median [smallest,']
    lines[-1] += ' largest] of the rounds; data loading from PNG files included.'
    return '\n'.join([*lines, '', *table(HEADER, (row.cells() for row in rows))]) + '\n'


def save_training(environment: dict, rows: list[TrainRow], path: Path) -> None:
    """Write JSON, whole or not at all."""
    content = dict(environment=environment, rows=[dataclasses.asdict(row) for row in rows])
    with written_aside(path) as work:
        work.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
