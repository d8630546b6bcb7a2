"""``python -m mkbackbones train``: train a model of mmdet, mmseg, mmpretrain or mmengine."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from ..runner.build import build_runner
from ..runner.config_values import pretrained_checkpoints
from ..runner.precision import set_up_amp
from ..runner.preflight import check_checkpoint, check_classes, check_paths, check_teachers
from ..runner.weights import check_names, check_readable, entry_names
from .errors import CommandError, run_command
from .launch import (
    add_launch_arguments,
    prepare_config,
    told_in_a_sentence,
)

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLES = """
examples:
  python -m mkbackbones train faster-rcnn_swin-t-spatial_neu-det.py --amp
  python -m mkbackbones train my_config.py --device cpu --cfg-options randomness.seed=1
  torchrun --nproc_per_node=4 -m mkbackbones train my_config.py --launcher pytorch
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser; mmdet's arguments, and ``--gpus``/``--device`` for mim."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones train',
        description='Train the model that a config of mmdet, mmseg, mmpretrain or mmengine names.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='path of a config, or the name of a shipped one')
    add_launch_arguments(parser)
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision, bfloat16 unless the config sets optim_wrapper.dtype=float16',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from CHECKPOINT; without a value, from the latest one in the work dir',
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), train, argv)


def train(args: argparse.Namespace) -> None:
    """Train as the parsed arguments say.

    Raises:
        CommandError: if the input cannot work, before any long work starts.
    """
    if args.resume not in (None, 'auto'):
        check_checkpoint(args.resume)
    cfg = prepare_config(args)
    if cfg.get('train_dataloader') is None or cfg.get('optim_wrapper') is None:
        raise CommandError(f'config {args.config} has no train_dataloader or no optim_wrapper')
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    check_paths(cfg, ('train', 'val'))
    check_classes(cfg, ('train', 'val'))
    check_teachers(cfg)
    names = []
    if args.resume is None:
        names = entry_names(cfg.get('load_from'), args.trusted)
    else:
        check_readable(latest(cfg) if args.resume == 'auto' else cfg.load_from, args.trusted)
    set_up_amp(cfg, args.amp)
    for place, checkpoint in pretrained_checkpoints(cfg.model):
        if checkpoint and '://' not in checkpoint and not os.path.isfile(checkpoint):
            raise CommandError(f'{place}: checkpoint {checkpoint} does not exist')
    from ..engine.teacher import TeacherError

    with told_in_a_sentence(cfg):
        runner = build_runner(cfg, args.trusted)
        check_names(runner.model, names, cfg.get('load_from'))
        try:
            runner.train()
        except TeacherError as error:
            raise CommandError(f'custom_hooks, DistillHook: {error}') from error


def latest(cfg: Config) -> str | None:
    """The checkpoint that ``--resume`` without a value goes on from; None if there is none."""
    from mmengine.runner import find_latest_checkpoint

    file = find_latest_checkpoint(cfg.work_dir)
    return file if file and os.path.isfile(file) else None
