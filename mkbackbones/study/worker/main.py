"""Train and test one run, in a process of its own.

The folder holds ``config.py``, a complete config whose entry ``study`` says what to do. The worker
goes on from ``latest.pth`` where there is one, and leaves ``result.json`` (main runs),
``trial.json`` or ``timing.json``, or ``error.json`` where it failed.
"""

from __future__ import annotations

import math
import shutil
import statistics
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import written_aside
from ..records.plain_config import write_plainly
from ..records.progress import Heartbeat
from ..records.run_folder import BEST, ERROR, FOLDED, LATEST, OUTPUTS, clean, write_json
from .processes import launch, leave_group, rank, unwrap

if TYPE_CHECKING:
    from mmengine.runner import Runner

    from .recording import RecordHook

__all__ = ['main']

ALREADY_RUNNING = 3


def main(argv: list[str] | None = None) -> int:
    """Do the run of the folder that the arguments name; return an exit code."""
    (place,) = sys.argv[1:] if argv is None else argv
    folder = Path(place)
    try:
        heartbeat = Heartbeat(folder, end_with_parent=True, rank=rank())
    except BlockingIOError as error:
        print(error, file=sys.stderr)
        return ALREADY_RUNNING
    try:
        write_plainly()
        if rank() is None:  # else whoever started this process has done so
            (folder / ERROR).unlink(missing_ok=True)
            clean(folder, finished=False)
        return do_run(folder, heartbeat)
    except KeyboardInterrupt:
        return 130
    except BaseException as error:
        traceback.print_exc()
        text = ' '.join(str(error).split()) or 'no message'
        if not (folder / ERROR).exists():  # of several processes the first one tells
            write_json(folder / ERROR, {'error': f'{type(error).__name__}: {text}'[-600:]})
        return 1


def do_run(folder: Path, heartbeat: Heartbeat) -> int:
    """Train, then do what the stage asks for; return an exit code."""
    from mmengine.config import Config

    from .recording import Diverged
    from .training import build_training, drop_damaged, train

    cfg = Config.fromfile(folder / 'config.py')
    stage, count = cfg.study.stage, cfg.study.get('gpus', 1)
    if count > 1 and rank() is None:
        drop_damaged(folder, cfg.study.get('trusted', False))
        return launch(folder, count)
    runner, recorder = build_training(cfg, folder, heartbeat)
    if 'measure' in cfg.study:
        from .measuring import MeasureHook

        runner.register_hook(MeasureHook(folder, **cfg.study.measure))
        runner.train()
        return 0
    try:
        train(runner, recorder)
        if count > 1:
            leave_group()
        if rank():
            return 0
    except Diverged as error:
        if stage != 'trial' or rank():
            raise
        # A learning rate that is too high is an answer, not a failure.
        write_json(folder / OUTPUTS[stage], {'score': -math.inf, 'note': str(error)})
    record = recorder.record
    if stage == 'timing':
        step = statistics.median(record.seconds[len(record.seconds) // 3 :])
        memory = record.peak_memory or None
        content = {'step_seconds': step, 'peak_memory': memory, **time_inference(runner, folder)}
        write_json(folder / OUTPUTS[stage], content)
    elif stage == 'main':
        write_result(runner, recorder, folder, heartbeat)
    elif not (folder / OUTPUTS[stage]).exists():
        content = {'score': record.best_score, 'iteration': record.best_iteration}
        write_json(folder / OUTPUTS[stage], content)
    (folder / LATEST).unlink(missing_ok=True)
    if stage != 'main':
        (folder / BEST).unlink(missing_ok=True)
    return 0


def time_inference(runner: Runner, folder: Path, num_images: int = 12) -> dict:
    """Time of the model for one validation image."""
    from mmengine.config import Config
    from torch.utils.data import DataLoader, Subset

    from .collect import collect
    from .tiles import tiles_of

    class Nothing:
        def add(self, sample: object) -> None:
            pass

    cfg = Config.fromfile(folder / 'config.py')
    loader = runner.build_dataloader(cfg.val_dataloader)
    dataset: Any = loader.dataset
    images = Subset(dataset, range(min(num_images, len(dataset))))
    part = DataLoader(images, batch_size=1, collate_fn=loader.collate_fn)
    return {'inference_seconds': collect(runner.model, part, Nothing(), tiles_of(cfg, 'val'))}


def write_result(runner: Runner, recorder: RecordHook, folder: Path, heartbeat: Heartbeat) -> None:
    """Test the weights that validation picked, and write evidence, predictions and result."""
    import torch
    from mmengine.config import Config

    from ...cost import count_cost
    from ..records.results import RunResult
    from .collect import collect, collector_of, good_scores
    from .tiles import tiles_of
    from .training import training_size
    from .treatment import as_entry, check_treatment, fold_by_least_squares, watch_charts

    study, record = runner.cfg.study, recorder.record
    heartbeat.update(phase='testing')
    runner.load_checkpoint(str(folder / BEST), map_location='cpu')
    loader = runner.test_dataloader
    partial = folder / '.predictions.partial'
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    collector = collector_of(study.kind, loader.dataset, study.data_root, partial)
    model: Any = unwrap(runner.model)
    cfg = Config.fromfile(folder / 'config.py')
    tiles = tiles_of(cfg, 'test')
    inference_seconds = collect(model, loader, collector, tiles)
    evidence = collector.evidence()
    if hasattr(evidence, 'good_scores'):
        val = runner.val_dataloader
        evidence.good_scores = good_scores(
            *(model, val, study.kind, study.data_root), tiles_of(cfg, 'val')
        )
    shutil.rmtree(folder / 'predictions', ignore_errors=True)
    partial.rename(folder / 'predictions')
    evidence.save(folder / 'evidence.npz')

    def score() -> float:
        with tempfile.TemporaryDirectory(prefix='mkbackbones-off-') as scratch:
            again = collector_of(study.kind, loader.dataset, study.data_root, Path(scratch))
            collect(model, loader, again, tiles)
            return again.evidence().metrics(again.classes)[study.primary]

    charts = watch_charts(model, runner.val_dataloader)
    treatment = check_treatment(model, charts, score)
    cost = count_cost(model.backbone, training_size(runner))
    if study.get('fold'):
        fold_by_least_squares(model, charts)
        with written_aside(folder / FOLDED) as work:
            torch.save({'state_dict': model.state_dict()}, work)
    RunResult(
        task=study.task,
        arm=study.arm,
        seed=study.seed,
        metrics=evidence.metrics(collector.classes),
        val_curve=record.val_curve,
        losses=record.losses,
        best_iteration=record.best_iteration,
        lr=float(runner.cfg.optim_wrapper.optimizer.lr),
        parameters=cost.parameters,
        flops=cost.flops,
        step_seconds=statistics.median(record.seconds),
        train_seconds=sum(record.seconds),
        inference_seconds=inference_seconds,
        peak_memory=record.peak_memory or None,
        treatment=as_entry(treatment),
        charts=chart_curves(runner),
        environment={
            **study.environment,
            'device': device_name(study.get('gpus', 1)),
        },
    ).save(folder / OUTPUTS['main'])


def chart_curves(runner: Runner) -> dict[str, list[float]]:
    """What ChartInfoHook saw over the training; nothing without it."""
    from ...engine.chart_info import PREFIX

    return {
        name.removeprefix(PREFIX).removeprefix('mean/'): buffer.data[0].tolist()
        for name, buffer in runner.message_hub.log_scalars.items()
        if name.startswith(PREFIX)
    }


def device_name(count: int) -> str:
    """The card, and how many of them a run had."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    return name if count == 1 else f'{count} x {name}'
