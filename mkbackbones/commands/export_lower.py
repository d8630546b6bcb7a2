"""``export --fp16`` and ``--int8``: a file in lower precision, and what that costs."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import written_aside
from ..runner.preflight import check_classes, check_paths
from .errors import CommandError
from .launch import NOT_CHOSEN, prepare_config, runner_aside, told_in_a_sentence

if TYPE_CHECKING:
    from mmengine.config import Config

    from ..export.check import Agreement
    from ..predict import Predictor

__all__ = ['export_lower', 'lower_config', 'size_of', 'tell_left_out']


def lower_config(args: argparse.Namespace) -> Config:
    """A config for the runner that evaluates, checked before long work.

    Raises:
        CommandError: It has no validation images, or they are not there.
    """
    from ..compress.calibration import calibration_dataset

    if args.int8 is not None and args.int8 < 1:
        raise CommandError(f'--int8 {args.int8} has to be at least 1 picture')
    given = argparse.Namespace(**{**vars(args), **NOT_CHOSEN, 'device': 'cpu'})
    cfg = prepare_config(given)
    if cfg.get('val_dataloader') is None or cfg.get('val_evaluator') is None:
        raise CommandError(f'config {args.config} has no validation images to measure with')
    splits = ['val']
    if args.int8 is not None:
        calibration_dataset(cfg)
        splits.append('train')
    check_paths(cfg, tuple(splits))
    check_classes(cfg, ('val',))
    return cfg


def export_lower(
    args: argparse.Namespace,
    cfg: Config,
    predictor: Predictor,
    pictures: Sequence[Path],
    notes: Mapping[str, Any],
) -> None:
    """Write a file in lower precision, and print the metrics before and after.

    Args:
        args (Namespace): Of the command.
        cfg (Config): From :func:`lower_config`.
        predictor (Predictor): The model.
        pictures (Sequence[Path]): What the file in float32 is compared on.
        notes (Mapping[str, Any]): What else to keep in the file.
    """
    from ..compress.calibration import calibration_batches
    from ..export.lower import quantise
    from ..export.metric import inputs_of, metrics
    from ..export.model import export_model, whole_model, write_model

    with tempfile.TemporaryDirectory() as scratch, told_in_a_sentence(cfg):
        runner, _ = runner_aside(cfg, args.checkpoint, args.trusted, scratch)
        full = Path(scratch, 'full.onnx')
        agreement = export_model(predictor, full, pictures, notes)
        tell_left_out(agreement)
        print(f'in float32: {agreement}')
        with written_aside(args.out) as work:
            if args.fp16:
                what = 'backbone and neck in float16'
                whole = whole_model(predictor, half=True)
                write_model(whole, work, dict(notes, precision='float16'))
            else:
                batches = calibration_batches(runner, cfg, args.int8)
                inputs = [one for batch in batches for one in inputs_of(batch)]
                number = quantise(full, work, inputs)
                what = f'{number} operators of backbone and neck in int8'
            before, after = metrics(runner, [full, work])
        print(f'{args.out}: {what}, {size_of(args.out)}; {size_of(full)} in float32')
    for name, value in before.items():
        if value >= 0:  # COCO's -1: there are no such objects
            print(f'{name}: {value:.4f} before, {after[name]:.4f} after (validation images)')


def tell_left_out(agreement: Agreement) -> None:
    """Print which pictures could not be compared."""
    for fault in agreement.left_out:
        print(f'not compared: {fault}', file=sys.stderr)


def size_of(path: Path) -> str:
    """Of a file."""
    return f'{path.stat().st_size / 2**20:.1f} MiB'
