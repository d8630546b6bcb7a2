"""``python -m mkbackbones demo``: the main job from end to end, on data made on the spot."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from .launch import CommandError, run_command, select_device

if TYPE_CHECKING:
    from ..study import Trial, TrialResult
    from ..study.report import Picture, Report, Table

EXAMPLES = """
examples:
  python -m mkbackbones demo
  python -m mkbackbones demo --iters 100 --work-dir /tmp/demo
"""
#: Task -> (start of its configs' names, primary metric, metrics of the table).
TASKS = {
    'detection': (
        'faster-rcnn',
        'coco/bbox_mAP',
        {'AP': 'coco/bbox_mAP', 'AP50': 'coco/bbox_mAP_50'},
    ),
    'segmentation': ('upernet', 'mIoU', {'mIoU': 'mIoU', 'mAcc': 'mAcc'}),
}
#: Factor from the evaluator's numbers to per cent.
PERCENT = {'detection': 100.0, 'segmentation': 1.0}
ARMS = {'stock key': 'stock', 'SpatialK': 'spatial'}
NUM_PICTURES = 5


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones demo',
        description='Train a tiny detector and a tiny segmentor with the stock and with a manifold '
        'key on synthetic defects, compare them, and write a report.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'))
    parser.add_argument(
        '--iters', type=int, help='iterations of each training; default: what the configs say'
    )
    parser.add_argument(
        '--device', choices=['auto', 'cpu', 'cuda'], default='auto', help='default: a GPU if any'
    )
    parser.set_defaults(gpus=None, launcher='none', local_rank=None)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), demo, argv)


def demo(args: argparse.Namespace) -> None:
    """Make the data, run every arm on every task, and write the report.

    Raises:
        CommandError: If the device or an argument cannot work, or an arm learned nothing.
    """
    if args.iters is not None and args.iters < 1:
        raise CommandError(f'--iters {args.iters} is too few; give at least 1')
    select_device(args)
    from rich.console import Console

    from ..study import write_report

    console = Console()
    data = args.work_dir / 'data'
    make_data(data, console)
    os.environ['MKBACKBONES_DATA'] = str(data.resolve())
    with contextlib.redirect_stdout(io.StringIO()):  # mmengine reports each use of the variable
        trials = plan_trials(args)
    results = run_trials(trials, console)
    page, _ = write_report(build_report(results), args.work_dir)
    console.print(f'report: {page}', soft_wrap=True)
    failures = [text for result in results for text in complaints(result)]
    if args.iters is None and failures:
        raise CommandError('; '.join(failures))


def make_data(root: Path, console) -> None:  # noqa: ANN001
    """Generate the synthetic set unless it is there."""
    from ..datasets import SyntheticDefects
    from ..datasets.writer import write_dataset

    out = root / 'synthetic'
    if not out.exists():
        with console.status('generating synthetic defects'):
            write_dataset(SyntheticDefects(dict(train=240, val=60, test=60)), out)
    console.print(f'data: {out}', soft_wrap=True)


def plan_trials(args: argparse.Namespace) -> list[Trial]:
    """One trial for each task and arm, with the same seed."""
    from mmengine.config import Config

    from ..study import Trial
    from .config_files import config_root

    trials = []
    for task, (head, metric, _) in TASKS.items():
        for arm, suffix in ARMS.items():
            name = f'{head}_swin-nano-{suffix}'
            cfg = Config.fromfile(config_root() / 'demo' / f'{name}.py')
            cfg.work_dir = str(args.work_dir / name)
            iters = args.iters or cfg.train_cfg.max_iters
            # No validation: nothing is selected, the test split is used once, at the end.
            cfg.train_cfg.update(max_iters=iters, val_interval=iters + 1)
            cfg.default_hooks.checkpoint.pop('save_best')
            cfg.default_hooks.checkpoint.pop('rule')
            cfg.default_hooks.checkpoint.interval = iters
            warm_up = min(cfg.param_scheduler[0].end, max(iters // 10, 1))
            cfg.param_scheduler[0].end = cfg.param_scheduler[1].begin = warm_up
            cfg.param_scheduler[1].end = max(iters, warm_up + 1)
            trials.append(Trial(task, arm, cfg, metric))
    return trials


def run_trials(trials: list[Trial], console) -> list[TrialResult]:  # noqa: ANN001
    """Run trials one after the other under a progress bar."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from ..study import run_trial

    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    results = []
    with Progress(*columns, console=console) as progress:
        total = sum(trial.cfg.train_cfg.max_iters for trial in trials)
        overall = progress.add_task('all', total=total)
        for trial in trials:
            name = f'{trial.task}, {trial.arm}'
            bar = progress.add_task(name, total=trial.cfg.train_cfg.max_iters)

            def advance(step: int, bar: int = bar) -> None:
                progress.update(bar, completed=step)
                progress.advance(overall)

            result = run_trial(trial, advance, NUM_PICTURES)
            metric, scale = next(iter(TASKS[trial.task][2])), PERCENT[trial.task]
            progress.console.print(
                f'{name}: {metric} {scale * result.untrained_score:.3g} -> '
                f'{scale * result.score:.3g}, loss '
                f'{result.loss_at(0):.3g} -> {result.loss_at(-1):.3g}, '
                f'{result.train_seconds:.0f} s'
            )
            results.append(result)
    return results


def complaints(result: TrialResult) -> list[str]:
    """What a trial that works would not show: a loss that stays, a metric at chance."""
    name = f'{result.trial.task}, {result.trial.arm}'
    found = []
    if not result.loss_at(-1) < 0.8 * result.loss_at(0):
        found.append(
            f'{name}: the loss went from {result.loss_at(0):.3g} to {result.loss_at(-1):.3g}'
        )
    if not result.score > max(result.untrained_score, chance(result)):
        found.append(f'{name}: {result.trial.metric} {result.score:.3g} is not above chance')
    return found


def chance(result: TrialResult) -> float:
    """Score of answering 'background' everywhere: 0 for boxes, in per cent for class maps."""
    if result.trial.task == 'detection':
        return 0.0
    from ..study.chance import background_miou

    return background_miou(result.trial.cfg)


def build_report(results: list[TrialResult]) -> Report:
    """Put the results into words, a table and pictures."""
    import torch

    from ..study.report import Report
    from ..version import __version__

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    blocks = [
        opening(results),
        'One seed on made-up data says nothing about which key is better: this report shows that '
        'installation, training, evaluation and comparison work here. Both arms share data order, '
        'augmentation, schedule and the initial values of every weight that they have in common; '
        'the manifold key starts as exactly the stock key.',
        '# Results on the test split',
        result_table(results),
        'Metrics are in per cent. Untrained is the score of the initial weights. Chance is the '
        'score of answering "background" everywhere. Parameters and FLOPs are the backbone\'s, for '
        'one 128x128 image; a multiply-add counts as two. Step is the median time of an iteration '
        'with data loading.',
        '# Training',
        curves(results),
        '# Predictions',
        *pictures(results),
        '# Setting',
        f'{device}, {os.cpu_count()} CPU cores, Python {platform.python_version()}, '
        f'torch {torch.__version__}, mkbackbones {__version__}; seed 0; batch 8; '
        f'{iterations(results)}; 240 training and 60 test images of 128x128.',
    ]
    return Report('Stock key and manifold key on synthetic defects', blocks)


def iterations(results: list[TrialResult]) -> str:
    """Iterations of each task in words."""
    counts = {result.trial.task: len(result.losses) for result in results}
    return ', '.join(f'{count} iterations of {task}' for task, count in counts.items())


def opening(results: list[TrialResult]) -> str:
    """The first paragraph: what came out."""
    sentences = []
    for task, (_, _, metrics) in TASKS.items():
        metric = next(iter(metrics))
        scores = [
            f'{PERCENT[task] * r.score:.3g} with {r.trial.arm}'
            for r in results
            if r.trial.task == task
        ]
        sentences.append(f'{task.capitalize()} reached {metric} {" and ".join(scores)}')
    learned = not any(complaints(result) for result in results)
    state = 'All arms learned' if learned else 'Not every arm learned'
    return f'{state} (loss down, metric above chance). {". ".join(sentences)}.'


def result_table(results: list[TrialResult]) -> Table:
    """One row a trial."""
    from ..study.report import Table

    header = ['task', 'arm', 'metrics', 'untrained', 'chance', 'loss, start', 'loss, end']
    header += ['parameters', 'GFLOPs', 'step', 'training']
    rows = []
    for result in results:
        metrics, scale = TASKS[result.trial.task][2], PERCENT[result.trial.task]
        rows.append(
            [
                result.trial.task,
                result.trial.arm,
                ', '.join(
                    f'{name} {scale * result.metrics[key]:.3g}' for name, key in metrics.items()
                ),
                f'{scale * result.untrained_score:.3g}',
                f'{scale * chance(result):.3g}',
                f'{result.loss_at(0):.3g}',
                f'{result.loss_at(-1):.3g}',
                f'{result.cost.parameters / 1e6:.2f} M',
                f'{result.cost.flops / 1e9:.2f}',
                f'{1000 * result.step_seconds:.0f} ms',
                f'{result.train_seconds:.0f} s',
            ]
        )
    return Table(header, rows)


def curves(results: list[TrialResult]) -> Picture:
    """Loss curves, a panel a task."""
    from ..study.pictures import loss_curves, to_png
    from ..study.report import Picture

    losses: dict[str, dict[str, list[float]]] = {}
    for result in results:
        losses.setdefault(result.trial.task, {})[result.trial.arm] = result.losses
    return Picture('losses.png', to_png(loss_curves(losses)), 'Training loss')


def pictures(results: list[TrialResult]) -> list[Picture]:
    """Predictions beside ground truth, a picture a task."""
    from ..study.pictures import comparison, to_png
    from ..study.report import Picture

    found = []
    for task in TASKS:
        of_task = [result for result in results if result.trial.task == task]
        columns = {result.trial.arm: result.samples for result in of_task}
        figure = comparison(columns, of_task[0].trial.cfg.metainfo)
        found.append(Picture(f'{task}.png', to_png(figure), f'{task.capitalize()}: test images'))
    return found
