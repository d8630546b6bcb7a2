"""``python -m mkbackbones profile-training``: train throughput with different backbones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..runner.config_files import find_config, read_config
from .errors import CommandError, run_command

if TYPE_CHECKING:
    from mmengine.config import Config

    from ..profiling.training import TrainRow

EXAMPLES = """
examples:
  python -m mkbackbones profile-training mask-rcnn_swin-t-stock_synthetic.py \\
      --size 4x800x1344 --backbones swin-t mmdet:swin-t swin-t/SpatialK
  python -m mkbackbones profile-training upernet_swin-t-stock_synthetic.py \\
      --size 8x512x512 --backbones swin-t mmseg:swin-t swin-t/SpatialK

The config has to be on the synthetic set, which is generated at 1024x1024 below DIR and resized to
--size as the config loads it. Names of backbones: python -m mkbackbones profile-backbone --help.
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones profile-training',
        description='Measure images a second in training a detector or segmentor with each '
        'backbone in turn, data loading included, and the share of the backbone.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='path or name of a config')
    parser.add_argument('--backbones', nargs='+', required=True, metavar='NAME')
    parser.add_argument('--size', required=True, metavar='BxHxW', help='or detection, segmentation')
    parser.add_argument('--rounds', type=int, default=3, help='default: %(default)s')
    parser.add_argument('--iters', type=int, default=20, help='of a round; default: %(default)s')
    parser.add_argument('--device', choices=['auto', 'cpu', 'cuda'], default='auto')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/profile'), metavar='DIR')
    parser.add_argument(
        '--cfg-options', nargs='+', action='extend', default=[], metavar='KEY=VALUE'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), profile_training, argv)


def profile_training(args: argparse.Namespace) -> None:
    """Profile as the parsed arguments say.

    Raises:
        CommandError: If an argument cannot work.
    """
    from ..profiling.sizes import parse_size
    from ..profiling.spec import SpecError, parse_spec

    try:
        size = parse_size(args.size)
        specs = [parse_spec(name) for name in args.backbones]
    except SpecError as error:
        raise CommandError(error) from error
    for name in ('rounds', 'iters'):
        if getattr(args, name) < 1:
            raise CommandError(f'--{name} {getattr(args, name)} is too few; give at least 1')
    paths = [find_config(config) for config in args.configs]

    import torch
    from rich.progress import Progress

    from ..profiling.run import environment
    from ..profiling.training import (
        make_images,
        profile_config,
        save_training,
        training_markdown,
    )
    from .profile_backbone import select_device, write_report

    device = torch.device(select_device(args.device))
    args.out.mkdir(parents=True, exist_ok=True)
    env = environment(device)
    rows: list[TrainRow] = []

    def save() -> None:
        save_training(env, rows, args.out / 'training.json')

    # No thread of its own draws the progress: it would disturb what is measured.
    with Progress(auto_refresh=False) as progress:
        task = progress.add_task('synthetic images', total=None)
        progress.refresh()
        make_images(args.out / 'data')
        progress.update(task, total=1, completed=1)
        for path in paths:
            cfg = read_config(path, args.cfg_options)
            check_config(cfg, path)
            turns = args.rounds, args.iters
            profile_config(path.stem, cfg, specs, size, *turns, device, rows, save, progress)
    report = training_markdown(env, rows)
    write_report(args.out / 'training.md', report)
    print(f'{args.out}: training.json and training.md written\n')
    print(report)


def check_config(cfg: Config, path: Path) -> None:
    """Raise CommandError if the config does not train on the synthetic set."""
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    if 'synthetic' not in str(dataset.get('data_root')):
        raise CommandError(f'config {path} does not train on the synthetic set; take a *_synthetic')
    if cfg.get('default_scope') is None:
        raise CommandError(f'config {path} has no default_scope')
