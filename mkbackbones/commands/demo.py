"""``python -m mkbackbones demo``: the main job from end to end, on data made on the spot."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .launch import CommandError, run_command
from .study_run import run_prepared
from .study_setup import read_and_prepare, starting
from .study_show import finish

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLES = """
examples:
  python -m mkbackbones demo
  python -m mkbackbones demo --iters 100 --work-dir /tmp/demo
"""
#: Runs at the same time; each has its share of the cores.
MAX_SLOTS = 4


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones demo',
        description='Run a study: train a tiny detector and a tiny segmentor with the stock and '
        'with a manifold key on synthetic defects, and compare them.',
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
    parser.set_defaults(
        study='studies/demo.py',
        executor='local',
        slots=min(os.cpu_count() or 1, MAX_SLOTS),
        stale='rerun',
        until=None,
        gpus=None,
        launcher='none',
        local_rank=None,
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), demo, argv)


def demo(args: argparse.Namespace) -> None:
    """Make the data, run the study, and check that every arm learned.

    Raises:
        CommandError: If the device or an argument cannot work, a run failed, or an arm learned
            nothing.
    """
    if args.iters is not None and args.iters < 1:
        raise CommandError(f'--iters {args.iters} is too few; give at least 1')
    from rich.console import Console

    from ..study.records.results import load_results
    from ..study.statistics.chance import complaints

    console = Console(markup=False)
    data = args.work_dir / 'data'
    make_data(data, console)
    os.environ['MKBACKBONES_DATA'] = str(data.resolve())
    with starting(args) as executor:
        prepared = read_and_prepare(args, console, iters=args.iters)
        failed = run_prepared(prepared, args.work_dir, args, console, executor)
    finish(args.work_dir, console)
    found = complaints(load_results(args.work_dir)) if args.iters is None else []
    if failed or found:
        raise CommandError('; '.join(found) or f'{failed} runs failed, see above')


def make_data(root: Path, console: Console) -> None:
    """Generate the synthetic set unless it is there."""
    from ..datasets import SyntheticDefects
    from ..datasets.writer import write_dataset

    out = root / 'synthetic'
    if not out.exists():
        with console.status('generating synthetic defects'):
            write_dataset(SyntheticDefects(dict(train=240, val=60, test=60)), out)
    console.print(f'data: {out}', soft_wrap=True)
