"""``python -m mkbackbones test``: evaluate a checkpoint."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING

from ..runner.build import build_runner
from ..runner.evaluation import count_seen_images
from ..runner.preflight import check_checkpoint, check_classes, check_paths
from ..runner.weights import check_names, entry_names
from .errors import CommandError, run_command
from .launch import (
    add_launch_arguments,
    prepare_config,
    told_in_a_sentence,
)
from .tile_arguments import add_tile_arguments, chosen_tiling, predictor_in_tiles

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

    from ..predict.tiles import Tiling

EXAMPLES = """
example:
  python -m mkbackbones test my_config.py work_dirs/my_config/epoch_12.pth --show-dir painted
  python -m mkbackbones test my_config.py work_dirs/my_config/epoch_12.pth --tile 1024
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser; mmdet's arguments, and ``--gpus``/``--device``."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones test',
        description='Evaluate a checkpoint on the test set of a config.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='path of a config, or the name of a shipped one')
    parser.add_argument('checkpoint', help='path or URL of the weights')
    add_launch_arguments(parser)
    parser.add_argument('--out', metavar='FILE.pkl', help='write the predictions as a pickle')
    parser.add_argument('--show-dir', metavar='DIR', help='write images with the predictions')
    add_tile_arguments(
        parser,
        'cut larger pictures, as predict does; metrics are those of whole pictures; without --out '
        'and --show-dir',
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), test, argv)


def test(args: argparse.Namespace) -> None:
    """Evaluate as the parsed arguments say and print the metrics.

    Raises:
        CommandError: if the input cannot work, before any long work starts.
    """
    check_checkpoint(args.checkpoint)
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        raise CommandError(f'--out {args.out} must end with .pkl or .pickle')
    cfg = prepare_config(args)
    if cfg.get('test_dataloader') is None or cfg.get('test_evaluator') is None:
        raise CommandError(f'config {args.config} has no test_dataloader or no test_evaluator')
    cfg.load_from = args.checkpoint
    check_paths(cfg, ('test',))
    check_classes(cfg, ('test',))
    tiling = chosen_tiling(args)
    if tiling is not None:
        show(test_in_tiles(args, cfg, tiling))
        return
    names = entry_names(args.checkpoint, args.trusted)
    if args.show_dir is not None:
        paint_into(cfg, args.show_dir)
    with told_in_a_sentence(cfg):
        runner = build_runner(cfg, args.trusted)
        check_names(runner.model, names, args.checkpoint)
        if args.out is not None:
            dump_into(runner, args.out)
        count_seen_images(runner.test_loop)
        metrics = runner.test()
    show(metrics or {})


def show(metrics: dict) -> None:
    """Print metrics."""
    for name, value in metrics.items():
        whole = isinstance(value, Integral) or not isinstance(value, Real)  # NumPy's, too
        print(f'{name}: {value}' if whole else f'{name}: {value:.4f}')


def test_in_tiles(args: argparse.Namespace, cfg: Config, tiling: Tiling) -> dict[str, float]:
    """Metrics of pictures that are cut into tiles.

    Raises:
        CommandError: if an argument does not go with ``--tile``.
    """
    from ..predict.evaluation import evaluate
    from .predict import progress

    for name, value in (('--out', args.out), ('--show-dir', args.show_dir)):
        if value is not None:
            raise CommandError(
                f'{name} {value} does not go with --tile; `predict --tile {args.tile}` writes what '
                'is found in tiles'
            )
    predictor = predictor_in_tiles(args, cfg, tiling)
    with told_in_a_sentence(cfg):
        return evaluate(predictor, progress)


def paint_into(cfg: Config, folder: str) -> None:
    """Make the visualisation hook of ``cfg`` write its images below ``folder``.

    Raises:
        CommandError: if the config has no such hook.
    """
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise CommandError('--show-dir needs default_hooks.visualization in the config')
    folder = os.path.abspath(folder)
    if hook.type.rpartition('.')[2] == 'SegVisualizationHook':
        # mmseg's own darkens the background and has other file names than mmdet.
        cfg.default_hooks.visualization = dict(
            type='mkbackbones.PaintSegmentationHook', folder=folder
        )
        return
    hook.draw = True
    if hook.type.rpartition('.')[2] == 'DetVisualizationHook':
        hook.test_out_dir = folder
    else:
        cfg.visualizer.save_dir = folder


def dump_into(runner: Runner, file: str) -> None:
    """Let the runner's test loop also write its predictions to ``file``."""
    from mmengine.evaluator import DumpResults

    class DumpPredictions(DumpResults):
        """Dump without the segmentation logits, which are classes x height x width floats."""

        def process(self, data_batch: dict, predictions: Sequence[dict]) -> None:
            kept = [{k: v for k, v in p.items() if k != 'seg_logits'} for p in predictions]
            super().process(data_batch, kept)

    dumper: type[DumpResults] = DumpPredictions
    if runner.cfg.get('default_scope') == 'mmdet':
        from mmdet.evaluation import DumpDetResults  # run-length encodes the masks

        dumper = DumpDetResults
    runner.test_evaluator.metrics.append(dumper(out_file_path=file))
